"""The page of results: every table with what its figures mean, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from weightzip.measure.suite.marked import empty, fill
from weightzip.measure.suite.plan import CODECS, FILE
from weightzip.measure.suite.results import SuiteResults
from weightzip.measure.suite.subjects import file_of
from weightzip.measure.suite.tables import table, title

_TEXTS = {
    "zoo": (
        "Test accuracy in percent on MNIST's 10,000 test images, of the file as it restores. Ratios are bytes of the model's "
        "tensors / bytes of the file on disk. `latents only` is the paper's accounting, which leaves the decoder out. "
        "`--max-drop 1` looks for the smallest file, so its accuracy is within a point by construction."
    ),
    "baselines": (
        "Whole-file ratio, and accuracy in brackets. Each method runs at a fixed list of settings (between 2 and 8 of them); "
        "the smallest file within a point counts. weightzip searches its setting, which gives it an advantage of at most one "
        "setting's width. A dash: no setting loses so little."
    ),
    "adapt": (
        "Whole-file ratio at most one point below the original. `calibrate` sees 5,000 training images without labels, "
        "`finetune` all 60,000 with labels. Minutes are those of the whole "
        "command, or of its last part where it was interrupted."
    ),
    "codecs": (
        "weightzip's whole file against NNCodec's bit stream at the same error. dB is 10 log10 of mean square / mean square "
        "error of matrices and filters: in some networks a few other values, such as variances of batch norms, hold nearly all "
        "of the mean square of the weights. It is worked out from the ratio over all weights, as if the whole error were in "
        "matrices and filters."
    ),
    "equal": (
        "How many times weightzip's bytes each baseline takes at the same error of matrices and filters; above 1 is larger. "
        "Each baseline runs at a list of settings, and its bytes are read off the straight line between the two settings "
        "around that error. A dash: its settings do not reach so far."
    ),
    "lossless": (
        "Bytes of the weights, in the dtype that is named, / bytes. weightzip's file holds all that a restore needs; ZipNN's "
        "and zstd's bytes hold the weights alone."
    ),
    "speed": (
        "MB/s are 10^6 bytes of the weights as float32 per second. Peak MB is the memory in use beyond the loaded checkpoint. "
        "Each codec runs by itself, in a process of its own; figures of small checkpoints say little."
    ),
}


def page(results: SuiteResults) -> str:
    """The whole page. Its tables stand between markers, so that `bench --suite --table` can bring it up to date."""
    return "\n\n".join(_parts(results)) + "\n"


def _parts(results: SuiteResults) -> Iterator[str]:
    yield "# Results"
    yield (
        f"Every figure here is from a real run of one command, `{results.command}`, on {results.date}. "
        f"The machine: {results.machine}. Measured with {', '.join(f'{name} {v}' for name, v in results.versions.items())}."
    )
    for name, text in _TEXTS.items():
        yield f"## {title(name)}"
        yield text
        yield fill(empty(name), lambda name, _: f"\n{table(name, results)}\n")
    yield "## How it was measured"
    yield "\n".join(_how(results))
    if absent := list(_absent(results)):
        yield "## What is not here"
        yield "\n".join(absent)


def _how(results: SuiteResults) -> Iterator[str]:
    yield "One process at a time, on the CPU. All of it again:"
    yield ""
    yield "```text"
    yield "python -m venv peers && peers/bin/pip install nncodec zipnn"
    yield results.command
    yield "```"
    yield ""
    yield "The suite goes on where it was interrupted. One by one, the files of the zoo are these:"
    yield ""
    yield "```text"
    yield from (record.found["command"] for record in results.records if record.kind == FILE)
    yield "```"
    yield ""
    yield "Each was restored, and the restored weights evaluated. A checkpoint by itself, at the ratios over all its weights:"
    yield ""
    yield "```text"
    for subject, found in results.of(CODECS).items():
        snrs = " ".join(f"--snr {quality:.1f}" for quality in found["qualities"])
        yield f"weightzip bench {file_of(subject)} {snrs} --peers peers"
    yield "```"


def _absent(results: SuiteResults) -> Iterator[str]:
    yield from (f"- {name}: not installed" for name in results.not_installed)
    yield from (f"- {name}: failed: {_on_one_line(reason)}" for name, reason in results.failed.items())
    for subject, found in results.of(CODECS).items():
        yield from (f"- {subject}: {_on_one_line(reason)}" for reason in found["failed"].values())


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
