"""What Cheng et al. (2024) claim, and what this repository adds to it, on the paper's own four models.

For each: about 30x in the paper's accounting at the same accuracy, after restoring in a process that has nothing but the
.wz file. By default storing the decoder may cost half a point against the trained network itself, for a whole file of a
twelfth or less; at `stored_error` 0.015 it costs next to nothing, for about a tenth.
"""

import functools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import weightzip
from weightzip.checkpoint import read, state_dict
from weightzip.codec import PaperCodec, encode, paper
from weightzip.tasks import evaluate_state, load_task
from weightzip.zoo import entry

pytestmark = pytest.mark.slow

# CI runs the smallest of them every time.
PAPER_MODELS = ["mnist-fnn", "mnist-cnn", pytest.param("mnist-rnn", marks=pytest.mark.ci), "mnist-lstm"]


@dataclass(frozen=True)
class Compressed:
    """A model of the zoo, its .wz file of the paper preset, and what else was made of the network trained for it.

    with_float_decoder: accuracy before anything was quantised. finely_stored, fine_ratio: of a file at stored_error 0.015.
    """

    name: str
    file: Path
    summary: weightzip.Summary
    original: float
    with_float_decoder: float
    finely_stored: float
    fine_ratio: float


@pytest.fixture(scope="module", params=PAPER_MODELS)
def compressed(request, tmp_path_factory):
    name = request.param
    checkpoint = entry(name).checkpoint
    file = tmp_path_factory.mktemp(name) / "model.wz"
    task = load_task(f"zoo:{name}")
    trained = []

    @functools.wraps(paper.train)
    def train_once(*args, **kwargs):
        """The seed decides everything, so the second codec may have what was trained for the first."""
        if not trained:
            trained.append(train(*args, **kwargs))
        return trained[0]

    train = paper.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "train", train_once)
        summary = weightzip.compress(checkpoint, file, preset="paper", seed=0, device="cpu")
        source = read(checkpoint)
        fine = encode(source, PaperCodec(stored_error=0.015))

    def accuracy_of(tensors):
        return evaluate_state(task, state_dict(source.layout, {name: tensors[name] for name in source.tensors}))

    return Compressed(
        name,
        file,
        summary,
        original=accuracy_of(source.tensors),
        with_float_decoder=accuracy_of(fine.notes["float_decoder"]),
        finely_stored=accuracy_of(fine.restored),
        fine_ratio=4 * entry(name).num_weights / len(fine.pack()),
    )


def weightzip_in_its_own_process(*arguments, folder):
    command = [sys.executable, "-m", "weightzip", *arguments, "--quiet", "--json"]
    return json.loads(subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def accuracy(compressed, tmp_path_factory):
    """Accuracy after restoring in a process and a folder that have nothing but the .wz file."""
    folder = tmp_path_factory.mktemp("restored")
    shutil.copy(compressed.file, folder / "only.wz")
    weightzip_in_its_own_process("restore", "only.wz", "-o", "restored.safetensors", folder=folder)
    return weightzip_in_its_own_process("zoo", "eval", compressed.name, "restored.safetensors", folder=folder)["value"]


def test_thirty_times_smaller_in_the_papers_accounting(compressed):
    assert compressed.summary["latent_ratio"] >= 30
    assert compressed.summary["latents"] == 64 * -(-entry(compressed.name).num_weights // 2048)


def test_the_whole_file_counts_every_byte(compressed):
    assert compressed.summary["file_bytes"] == compressed.file.stat().st_size
    assert compressed.summary["ratio"] == 4 * entry(compressed.name).num_weights / compressed.file.stat().st_size
    assert compressed.summary["ratio"] >= 12


def test_accuracy_within_a_point_of_the_original(compressed, accuracy):
    assert accuracy >= compressed.original - 1.0


def test_storing_the_decoder_costs_at_most_half_a_point(compressed, accuracy):
    assert accuracy >= compressed.with_float_decoder - 0.5


def test_storing_the_decoder_finely_costs_at_most_a_fifth_of_a_point(compressed):
    assert compressed.finely_stored >= compressed.with_float_decoder - 0.2
    assert compressed.fine_ratio >= 9
