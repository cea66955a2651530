from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to be, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model.pt"
