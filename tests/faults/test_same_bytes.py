"""The same input gives the same bytes, whatever the hash seed and the number of threads."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from harness import contents, run


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]) -> Path:
    """A checkpoint with all that trainings keep: strings, numbers, an optimizer's state, aliases, what is not finite."""
    floats = {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    tree = {
        "state_dict": state
        | {"tied.weight": state["0.weight"], "view": state["1.weight"][::2], "nan": torch.tensor([torch.nan])},
        "optimizer": {"state": {number: {"exp_avg": tensor / 7} for number, tensor in enumerate(list(floats.values())[:2])}},
        "config": {"name": "a model", "betas": (0.9, 0.999), "layers": [{"width": 256}, None]},
        "epoch": 12,
    }
    path = tmp_path_factory.mktemp("training") / "model.pt"
    torch.save(tree, path)
    return path


@pytest.mark.parametrize("options", [(), pytest.param(("--lossless",), marks=pytest.mark.slow)])
def test_what_is_packed(training: Path, tmp_path: Path, options: Sequence[str]):
    """The same on one thread and on two, however sets are ordered."""
    targets = [tmp_path / name for name in ("first.wz", "second.wz", "third.wz")]
    for target, threads, seed in zip(targets, ("1", "2", "2"), ("0", "1", "random"), strict=True):
        command = ("compress", training, "-o", target, "--threads", threads, *options)
        ended = run(*command, PYTHONHASHSEED=seed, OMP_NUM_THREADS="2")
        assert (ended.code, ended.err) == (0, "")
    first, second, third = map(contents, targets)
    assert first == second == third


@pytest.fixture(scope="module")
def packed_training(training: Path) -> Path:
    path = training.with_suffix(".wz")
    assert run("compress", training, "-o", path, "--threads", "1").code == 0
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_restored(packed_training: Path, tmp_path: Path, suffix: str):
    """The same on one thread and on two, though it was packed on one."""
    targets = [tmp_path / f"{threads}{suffix}" for threads in ("1", "2")]
    for target in targets:
        ended = run("restore", packed_training, "-o", target, "--threads", target.stem, OMP_NUM_THREADS="2")
        assert ended.code == 0, ended.err
    first, second = map(contents, targets)
    assert first == second
