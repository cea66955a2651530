import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from weightzip.cli.main import execute

sys.path[:0] = [str(Path(__file__).parents[1] / "docs")]  # for warm_program.py

TASK = """
import torch

class Task:
    name = "toy"
    metric = "score, %"

    def model(self):
        return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

    def evaluate(self, model):
        inputs = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return 100 * float((model(inputs).argmax(1) == torch.arange(500) % 10).float().mean())

task = Task()
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _signals_arrive() -> Iterator[None]:
    """As on a terminal; what is started in the background may have been told to ignore interrupts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def run_alone(tmp_path: Path) -> Run:
    """Run a command line in a process of its own."""

    def run(*arguments: object, **options: Any) -> Result:
        command = [sys.executable, "-m", "weightzip", *map(str, arguments)]
        done = subprocess.run(command, **{"capture_output": True, "text": True, "check": False, **options})
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    return dict(module.state_dict())


@pytest.fixture
def model(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """A small checkpoint of 2,410 weights, 9,640 bytes."""
    torch.save(state, folder / "model.pt")
    return Path("model.pt")


@pytest.fixture
def packed(model: Path, run: Run) -> Path:
    """The model's .wz file."""
    assert run("compress", model, "-q").code == 0
    return Path("model.wz")


@pytest.fixture
def paper(model: Path, run: Run) -> Path:
    """The model's .wz file by the paper preset, hardly trained."""
    assert run("compress", model, "-q", "--preset", "paper", "--epochs", 1, "--copies", 4, "-o", "paper.wz").code == 0
    return Path("paper.wz")


@pytest.fixture
def task(folder: Path) -> str:
    """A task for the model."""
    (folder / "task.py").write_text(TASK)
    return "task.py:task"


@pytest.fixture
def listing(folder: Path) -> Callable[[], Sequence[str]]:
    """What is in the folder, hidden files included."""
    return lambda: sorted(path.name for path in folder.iterdir())
