import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import weightzip
from weightzip import compressing
from weightzip.container import ContainerWriter
from weightzip.errors import (
    CheckpointError,
    DamagedFileError,
    OutputError,
    TargetError,
    UsageError,
)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_the_output_is_named_after_the_source_and_stands_beside_it(folder, source):
    (folder / "below").mkdir()
    elsewhere = source.rename(folder / "below" / "net.v2.pt")
    summary = weightzip.compress(elsewhere)
    assert summary["output"] == str(folder / "below" / "net.v2.wz")
    assert files_in(folder) == ["below", "net.v2.pt", "net.v2.wz"]


@pytest.mark.parametrize("kind", [dict, torch.nn.Module])
def test_objects_are_written_to_the_current_folder(folder, kind):
    source = {"w": torch.randn(5, 5)} if kind is dict else torch.nn.Linear(3, 2)
    assert weightzip.compress(source)["output"] == "model.wz"
    assert files_in(folder) == ["model.wz"]


@pytest.mark.parametrize("convert", [str, Path])
def test_paths_may_be_strings(folder, source, convert):
    summary = weightzip.compress(convert(source), convert(folder / "out.wz"))
    assert (summary["input"], summary["output"]) == (str(source), str(folder / "out.wz"))
    assert list(weightzip.restore(convert(folder / "out.wz"))) == list(torch.load(source, weights_only=True))


def test_the_summary_is_that_of_the_file(folder, source, state):
    summary = weightzip.compress(source, "out.wz")
    size = (folder / "out.wz").stat().st_size
    num_bytes = 4 * (2000 + 40) + 2 * 30 + 8 + 4 * 2  # the tied weight counts once
    assert summary["file_bytes"] == sum(summary["sections"].values()) == size
    assert summary["input_bytes"] == num_bytes
    assert summary["ratio"] == num_bytes / size
    assert (summary["tensors"], summary["weights"]) == (5, 2000 + 40 + 30 + 2)
    assert summary["bits_per_weight"] == 8 * size / summary["weights"]
    assert (summary["preset"], summary["latents"], summary["latent_ratio"], summary["metric"]) == ("auto", 0, None, None)
    restored = weightzip.restore("out.wz")
    errors = [
        torch.nan_to_num(restored[name].double() - state[name].double()).abs().max()
        for name in state
        if state[name].dtype.is_floating_point
    ]
    assert summary["max_abs_error"] == pytest.approx(float(max(errors)), rel=1e-3)
    assert 0 < summary["relative_mse"] < 0.05
    assert summary["seconds"] > 0


def test_each_tensor_is_listed_with_how_it_is_coded(source):
    entries = weightzip.compress(source)["tensor_list"]
    listed = {entry["name"]: (entry["coding"], entry["dtype"], entry["bytes"]) for entry in entries}
    assert listed == {
        "layer.weight": ("lossy", "float32", 8000),
        "layer.bias": ("lossy", "float32", 160),
        "half": ("lossy", "float16", 60),
        "steps": ("exact", "int64", 8),
        "nan": ("exact", "float32", 8),
    }


def test_the_paper_preset_prints_its_own_accounting(source, tiny_vae):
    summary = weightzip.compress(source, preset="paper", vae=tiny_vae)
    num_chunks = -(-(2000 + 40 + 30) // 64)
    assert summary["preset"] == "paper"
    assert summary["latents"] == 4 * num_chunks
    assert summary["latent_ratio"] == summary["input_bytes"] / (4 * summary["latents"])
    assert {"latents", "decoder", "header"} <= set(summary["sections"])


def test_the_same_seed_gives_the_same_file_and_another_one_does_not(folder, source, tiny_vae):
    digests = []
    for number, seed in enumerate((3, 3, 4)):
        weightzip.compress(source, f"{number}.wz", preset="paper", vae=tiny_vae, seed=seed)
        digests.append(hashlib.sha256((folder / f"{number}.wz").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_source_is_left_as_it_is(source, state):
    before = source.read_bytes()
    weightzip.compress(source)
    assert source.read_bytes() == before
    copies = {name: tensor.clone() for name, tensor in state.items()}
    weightzip.compress(state, "of_object.wz")
    assert all(torch.equal(torch.nan_to_num(copies[name]), torch.nan_to_num(tensor)) for name, tensor in state.items())
    assert state["module.layer.weight"] is state["module.tied.weight"]


def test_a_module_in_training_stays_in_training():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())
    weights = [parameter.detach().clone() for parameter in module.parameters()]
    weightzip.compress(module, "module.wz")
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), weights, strict=True))


@pytest.mark.parametrize("target", [{"ratio": 3.0}, {"bpw": 10.0}])
def test_a_size_is_met_by_the_file_on_disk(folder, source, target):
    weightzip.compress(source, "out.wz", **target)
    size = (folder / "out.wz").stat().st_size
    limit = (8000 + 160 + 60 + 16) / target["ratio"] if "ratio" in target else target["bpw"] * 2072 / 8
    assert 0.97 * limit < size <= limit


def test_a_task_is_measured_and_leaves_no_trace_in_the_file(folder, task):
    weight = torch.randn(40, 50)
    summary = weightzip.compress({"weight": weight}, "measured.wz", ratio=4, task=task(weight))
    weightzip.compress({"weight": weight}, "plain.wz", ratio=4)
    assert summary["metric"]["name"] == "closeness, points"
    assert (folder / "measured.wz").read_bytes() == (folder / "plain.wz").read_bytes()


def test_an_error_is_kept_by_the_file_on_disk(state):
    weightzip.compress(state, "out.wz", max_error=0.01)
    restored = weightzip.restore("out.wz")
    for name, tensor in state.items():
        assert float(torch.nan_to_num(restored[name].double() - tensor.double()).abs().max()) <= 0.01


def test_a_drop_is_kept_by_the_file_on_disk(task):
    weight = torch.randn(40, 50)
    job = task(weight)
    summary = weightzip.compress({"module.weight": weight}, "out.wz", max_drop=2, task=job)
    model = job.model()
    weightzip.load_into(model, "out.wz")
    assert summary["metric"] == {"name": job.metric, "original": 100.0, "restored": job.evaluate(model)}
    assert 1.9 < 100 - job.evaluate(model) <= 2


def test_lossless_is_bit_for_bit(state):
    summary = weightzip.compress(state, "out.wz", lossless=True)
    assert (summary["preset"], summary["max_abs_error"], summary["relative_mse"]) == ("lossless", 0, 0)
    restored = weightzip.restore("out.wz")
    for name, tensor in state.items():
        assert torch.equal(restored[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_a_target_out_of_reach_writes_nothing(folder, source):
    with pytest.raises(TargetError, match="out of reach"):
        weightzip.compress(source, "out.wz", ratio=1e5)
    assert files_in(folder) == ["net.pt"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "magic"}, "unknown preset 'magic'; use one of auto, paper"),
        ({"lossless": True, "ratio": 2}, "--lossless stands alone"),
        ({"lossless": True, "preset": "paper"}, "--lossless stands alone"),
        ({"preset": "paper", "bpw": 2}, "--preset paper has no target"),
        ({"max_drop": 1}, "--max-drop needs a task"),
        ({"ratio": 2, "bpw": 2}, "exclude each other"),
        ({"ratio": -1}, "must be a positive number"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"task": "no-such-task"}, "not a task"),
        ({"preset": "paper", "device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_requests_that_make_no_sense(folder, source, options, match):
    with pytest.raises(UsageError, match=match):
        weightzip.compress(source, "out.wz", **options)
    assert files_in(folder) == ["net.pt"]


def test_an_existing_output_is_refused_before_any_work_and_kept(folder, source):
    (folder / "out.wz").write_bytes(b"precious")
    events = []
    with pytest.raises(OutputError, match="exists already"):
        weightzip.compress(source, "out.wz", progress=events.append)
    assert not events
    assert (folder / "out.wz").read_bytes() == b"precious"


def test_force_overwrites(folder, source):
    (folder / "out.wz").write_bytes(b"old")
    weightzip.compress(source, "out.wz", force=True)
    assert list(weightzip.restore("out.wz"))


@pytest.mark.parametrize("force", [False, True])
def test_the_source_is_no_output(source, force):
    before = source.read_bytes()
    with pytest.raises(OutputError, match="same file"):
        weightzip.compress(source, source, force=force)
    assert source.read_bytes() == before


def test_a_missing_folder_is_refused(source):
    with pytest.raises(OutputError, match="no such folder"):
        weightzip.compress(source, "missing/out.wz")


@pytest.mark.parametrize("name", ["", "/", "missing.pt"])
def test_a_source_that_is_no_file(name):
    with pytest.raises(weightzip.WeightzipError, match=r"no such file|is a folder") as raised:
        weightzip.compress(name)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("preset", ["auto", "paper"])
def test_an_interruption_leaves_nothing(folder, source, tiny_vae, preset):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weightzip.compress(source, "out.wz", preset=preset, vae=tiny_vae if preset == "paper" else None, progress=interrupt)
    assert files_in(folder) == ["net.pt"]


def test_a_write_that_fails_leaves_nothing(folder, source, monkeypatch):
    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        weightzip.compress(source, "out.wz")
    assert files_in(folder) == ["net.pt"]


def test_too_little_space_is_noticed_before_writing(folder, source, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match="only 10 are free"):
        weightzip.compress(source, "out.wz")
    assert files_in(folder) == ["net.pt"]


def test_what_was_written_is_read_back_and_an_older_file_is_kept_if_it_is_wrong(folder, source, monkeypatch):
    (folder / "out.wz").write_bytes(b"precious")
    finish = ContainerWriter.finish

    def damaging(self, header):
        section_bytes = finish(self, header)
        self._file.seek(-1, 2)
        last = self._file.read(1)[0]
        self._file.seek(-1, 2)
        self._file.write(bytes([last ^ 1]))
        return section_bytes

    monkeypatch.setattr(ContainerWriter, "finish", damaging)
    with pytest.raises(DamagedFileError):
        weightzip.compress(source, "out.wz", force=True)
    assert (folder / "out.wz").read_bytes() == b"precious"
    assert files_in(folder) == ["net.pt", "out.wz"]


def test_a_file_that_decodes_to_something_else_is_not_kept(folder, source, monkeypatch):
    """Whatever the reason: what is restored must be what was measured."""
    decode_parts = compressing.decode_parts

    def other(*args):
        for name, tensor in decode_parts(*args):
            if name == "layer.bias":
                tensor[3] += 1e-6
            yield name, tensor

    monkeypatch.setattr(compressing, "decode_parts", other)
    with pytest.raises(DamagedFileError, match="decodes to something else; nothing was kept"):
        weightzip.compress(source, "out.wz")
    assert files_in(folder) == ["net.pt"]


def test_the_number_of_threads_is_given_back(source):
    before = torch.get_num_threads()
    seen = []
    weightzip.compress(source, threads=2, progress=lambda event: seen.append(torch.get_num_threads()))
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_the_callers_random_numbers_are_left_alone(source, tiny_vae):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    weightzip.compress(source, preset="paper", vae=tiny_vae)
    assert torch.equal(torch.rand(3), expected)


def test_a_file_that_is_packed_already_is_refused(source):
    weightzip.compress(source, "out.wz")
    with pytest.raises(CheckpointError, match=r"is a \.wz file already"):
        weightzip.compress("out.wz")


def test_without_verifying_nothing_is_decoded_from_the_file(folder, source, monkeypatch):
    monkeypatch.setattr(compressing, "decode_parts", lambda *args: pytest.fail("decoded"))
    weightzip.compress(source, "out.wz", verify=False)
    assert weightzip.test("out.wz")["file_bytes"] == (folder / "out.wz").stat().st_size


@pytest.mark.parametrize(
    ("options", "lossy"),
    [
        ({"include": ["layer.*"]}, {"layer.weight", "layer.bias"}),
        ({"exclude": ["*.bias"]}, {"layer.weight", "half"}),
        ({"include": ["layer.*", "half"], "exclude": ["*.bias", "module.half"]}, {"layer.weight"}),
        ({"include": ["module.layer.weight"]}, {"layer.weight"}),
    ],
)
def test_only_chosen_weights_are_coded_lossily(source, options, lossy):
    summary = weightzip.compress(source, "out.wz", **options)
    coded = {entry["name"] for entry in summary["tensor_list"] if entry["coding"] == "lossy"}
    assert coded == lossy


def test_a_pattern_that_fits_no_weight(source):
    with pytest.raises(UsageError, match=r"no weight is called 'lyaer\.\*'; there are, for example, "):
        weightzip.compress(source, "out.wz", exclude=["lyaer.*"])


def test_a_checkpoint_with_all_weights_excluded_is_lossless(source):
    summary = weightzip.compress(source, "out.wz", exclude=["*"])
    assert (summary["preset"], summary["relative_mse"]) == ("lossless", 0)


def test_weights_that_are_shared_go_by_each_of_their_keys(source):
    for pattern in ("tied.*", "module.tied.weight", "layer.weight"):
        summary = weightzip.compress(source, "out.wz", exclude=pattern, force=True)
        coding = {entry["name"]: entry["coding"] for entry in summary["tensor_list"]}
        assert (coding["layer.weight"], coding["layer.bias"]) == ("exact", "lossy")


def test_lossless_leaves_nothing_to_choose(source):
    with pytest.raises(UsageError, match="stands alone"):
        weightzip.compress(source, "out.wz", lossless=True, include=["layer.*"])


def test_a_file_whose_header_says_something_else_is_not_kept(folder, source, monkeypatch):
    finish = ContainerWriter.finish
    monkeypatch.setattr(ContainerWriter, "finish", lambda self, header: finish(self, {**header, "error": [0.5, 1.0]}))
    with pytest.raises(DamagedFileError, match="decodes to something else; nothing was kept"):
        weightzip.compress(source, "out.wz")
    assert files_in(folder) == ["net.pt"]


def test_every_dtype_within_an_error(folder):
    state = {str(dtype): torch.linspace(-1, 1, 40).to(dtype) for dtype in (torch.float64, torch.bfloat16, torch.float16)}
    state |= {
        "w": torch.randn(20, 30),
        "fp8": torch.ones(6).to(torch.float8_e5m2),
        "complex": torch.ones(3, dtype=torch.complex64),
    }
    state["fp4"] = torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert weightzip.compress(state, "out.wz", max_error=0.01)["max_abs_error"] <= 0.01


def test_a_mask_beside_weights_comes_back_exactly(folder):
    mask = torch.tril(torch.ones(1, 1, 64, 64))
    state = {"attn.weight": torch.randn(64, 64), "attn.bias": mask, "logit_scale": torch.tensor(4.6052)}
    weightzip.compress(state, "out.wz")
    restored = weightzip.restore("out.wz")
    assert torch.equal(restored["attn.bias"], mask)
    assert torch.equal(restored["logit_scale"], state["logit_scale"])
    assert not torch.equal(restored["attn.weight"], state["attn.weight"])


@pytest.mark.parametrize("ratio", [10, 100])
def test_a_ratio_is_met_though_exact_storage_takes_more(folder, ratio):
    ternary = torch.randint(-1, 2, (300, 300), generator=torch.Generator().manual_seed(0)).float()
    summary = weightzip.compress({"w": ternary}, "out.wz", ratio=ratio)
    assert summary["ratio"] >= ratio
    assert (summary["max_abs_error"] == 0) == (ratio == 10)
