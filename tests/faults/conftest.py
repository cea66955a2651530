import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Job, make_job, run
from safetensors.torch import save_file

FILE, SHARDS = "model.safetensors", "model"
LAYERS = 8


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    """A bit less than a million weights, in tensors of some kinds."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(-1, 1, 256).exp()[:, None]
    state = {}
    for layer in range(LAYERS):
        state[f"{layer}.weight"] = torch.randn(256, 384, generator=generator) * scales
        state[f"{layer}.bias"] = torch.randn(256, generator=generator)
        state[f"{layer}.steps"] = torch.tensor(layer)
    return state


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]) -> Path:
    """A folder with the model as a file and as a folder of shards; all that is read, nothing that is written."""
    home = tmp_path_factory.mktemp("sources")
    save_file(state, home / FILE, {"format": "pt"})
    (home / SHARDS).mkdir()
    names = {key: f"model-0000{int(key[0]) // 4 + 1}-of-00002.safetensors" for key in state}
    for name in sorted(set(names.values())):
        save_file({key: state[key] for key in state if names[key] == name}, home / SHARDS / name, {"format": "pt"})
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (home / SHARDS / "model.safetensors.index.json").write_text(json.dumps(index))
    return home


@pytest.fixture(scope="session")
def packed(home: Path) -> Callable[[str], Path]:
    """The .wz file of a source, by its name."""

    def pack(name: str) -> Path:
        path = home / f"{name}.wz"
        if not path.exists():
            ended = run("compress", home / name, "-o", path)
            assert ended.code == 0, ended.err
        return path

    return pack


@pytest.fixture(scope="session")
def jobs(home: Path, packed: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Job]:
    """What is put to the test, by its name."""
    made: dict[str, Job] = {}

    def make(name: str) -> Job:
        folder = tmp_path_factory.mktemp("targets")
        match name:
            case "compress":
                return make_job("compress", home / FILE, target=folder / "out" / "model.wz")
            case "compress lossless":
                return make_job("compress", home / FILE, "--lossless", target=folder / "out" / "model.wz")
            case "compress shards":
                return make_job("compress", home / SHARDS, target=folder / "out" / "model.wz")
            case "restore":
                return make_job("restore", packed(FILE), target=folder / "out" / "restored.safetensors")
            case "restore .pt":
                return make_job("restore", packed(FILE), target=folder / "out" / "restored.pt")
            case "restore shards":
                return make_job("restore", packed(SHARDS), target=folder / "out" / "restored")
        raise ValueError(name)

    def job(name: str) -> Job:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return job


@pytest.fixture(params=["compress", "restore"])
def job(request: pytest.FixtureRequest, jobs: Callable[[str], Job], tmp_path: Path) -> Job:
    """One after the other, each writing into an empty folder of its own."""
    (tmp_path / "out").mkdir()
    return jobs(request.param).at(tmp_path / "out")


@pytest.fixture(params=["compress", "compress lossless", "compress shards", "restore", "restore .pt", "restore shards"])
def any_job(request: pytest.FixtureRequest, jobs: Callable[[str], Job], tmp_path: Path) -> Job:
    """All of them; too many for every day."""
    (tmp_path / "out").mkdir()
    return jobs(request.param).at(tmp_path / "out")
