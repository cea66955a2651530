"""A checkpoint of a few hundred weights, and the report on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lines_task import VAE, write_checkpoint, write_task

from weightzip.report import Report, make_report
from weightzip.tasks import Task


@pytest.fixture(scope="session")
def task_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def make(checkpoint: Path, task_name: str) -> Callable[..., Report]:
    """Makes a report in a folder, with a VAE that is trained in no time."""

    def make(folder: Path, task: Task | None = None, **options: object) -> Report:
        return make_report(checkpoint, task or task_name, folder, vae=VAE, **options)

    return make


@pytest.fixture(scope="session")
def report(make: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One report for all tests that only look at it."""
    return make(tmp_path_factory.mktemp("report") / "out")
