"""Small networks that do their task, and an empty folder for every test."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from small_tasks import Largest, trained
from torch import Tensor


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def _state(kind: str) -> dict[str, Tensor]:
    return trained(Largest(kind))


@pytest.fixture
def state_of() -> Callable[[str], dict[str, Tensor]]:
    """The weights of a trained network of a kind; not to be changed."""
    return _state


@pytest.fixture
def task() -> Largest:
    return Largest()


@pytest.fixture
def state() -> dict[str, Tensor]:
    """The weights of a dense network that does the task."""
    return _state("dense")
