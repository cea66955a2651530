"""What `pip install .` puts into a user's site-packages."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in the wheel, built from a copy of the source, as a build writes into its tree."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "--wheel-dir", str(folder), "."]
    subprocess.run(command, check=True, cwd=folder / "source")
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_only_weightzip_lands_in_site_packages(wheel):
    top = {name.split("/")[0] for name in wheel}
    (metadata,) = top - {"weightzip"}
    assert metadata.startswith("weightzip-")
    assert metadata.endswith(".dist-info")


def test_every_source_file_is_in_it(wheel):
    homes = {"weightzip": "weightzip", "cli": "weightzip/cli", "zoo": "weightzip/zoo"}
    for folder, home in homes.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{home}/{path.relative_to(ROOT / folder).as_posix()}" in wheel


def test_no_tests_are_in_it(wheel):
    assert not [name for name in wheel if "test_" in name or "conftest" in name]


@pytest.mark.parametrize("name", ["mnist-fnn", "mnist-cnn", "mnist-rnn", "mnist-lstm", "lenet-300-100", "lenet-5"])
def test_the_zoos_checkpoints_are_in_it(wheel, name):
    assert f"weightzip/zoo/checkpoints/{name}.safetensors" in wheel


def test_the_zoos_data_is_in_it_with_its_licence(wheel):
    data = {path.name for path in (ROOT / "zoo" / "data" / "mnist").iterdir() if path.is_file()}
    assert {name.rpartition("/")[2] for name in wheel if name.startswith("weightzip/zoo/data/mnist/")} == data
    assert "LICENSE" in data


def test_the_reports_page_and_the_type_marker_are_in_it(wheel):
    assert "weightzip/py.typed" in wheel
    templates = {f"weightzip/report/{path.name}" for path in (ROOT / "weightzip" / "report").glob("*.j2")}
    assert templates <= wheel


def test_the_program_and_the_licences_are_in_it(wheel):
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)
    assert len([name for name in wheel if ".dist-info/licenses/" in name]) == 2
