from pathlib import Path

import pytest
from lines_task import VAE, write_checkpoint, write_task

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.measure import compare
from weightzip.progress import silent
from weightzip.results import Results
from weightzip.tasks import Task, load_task


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def checkpoint(source: Path) -> Checkpoint:
    return checkpoints.read(source)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(write_task(tmp_path_factory.mktemp("task")))


@pytest.fixture(scope="session")
def results(checkpoint: Checkpoint, task: Task) -> Results:
    """One comparison for all tests that only look at it."""
    return compare(checkpoint, task, VAE, "cpu", silent)
