"""What is handed out: an archive of the source, and a wheel built from it, that works where nothing else of the project is."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

pytestmark = [pytest.mark.slow, pytest.mark.ci]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the archive and with the wheel that was built from it, made of a copy, as a build writes into its tree."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    """The names of the files in the wheel."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def program(built, tmp_path_factory):
    """The program, installed from the wheel into an environment that has nothing else of its own."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    place = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    (path,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-deps", str(path)]
    subprocess.run(install, check=True, capture_output=True)
    # What it depends on takes gigabytes; it is lent by the environment that runs the tests, the project itself left out.
    lent = folder / "lent"
    lent.mkdir()
    for item in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not item.name.lower().startswith(("weightzip", "__editable__")) and item.suffix != ".pth":
            (lent / item.name).symlink_to(item)
    (Path(place["purelib"]) / "lent.pth").write_text(f"{lent}\n")
    return Path(place["scripts"]) / "weightzip"


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
    parts = [
        path for path in (ROOT / "weightzip" / "report").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert parts
    assert {f"weightzip/{path.relative_to(ROOT / 'weightzip').as_posix()}" for path in parts} <= wheel


def test_the_program_and_the_licences_are_in_it(wheel):
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)
    assert len([name for name in wheel if ".dist-info/licenses/" in name]) == 2


def test_the_archive_holds_all_that_working_on_it_takes(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "docs/FORMAT.md"} <= names
    assert {f"tests/{path.relative_to(ROOT / 'tests').as_posix()}" for path in (ROOT / "tests").rglob("*.py")} <= names
    assert {f"tests/golden/{path.name}" for path in (ROOT / "tests" / "golden").glob("*.wz")} <= names


def test_the_installed_program_works_by_itself(program, tmp_path):
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments):
        done = subprocess.run([program, *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
        return done.stdout

    assert run("--version").startswith("weightzip ")
    where = subprocess.run(
        [program.with_name("python"), "-c", "import weightzip; print(weightzip.__file__)"],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(program.parent.parent) in where.stdout
    assert "mnist-fnn" in run("zoo", "list")
    checkpoint = ROOT / "zoo" / "checkpoints" / "mnist-cnn.safetensors"
    run("compress", str(checkpoint), "-o", "cnn.wz")
    run("restore", "cnn.wz", "-o", "cnn.safetensors")
    assert (tmp_path / "cnn.safetensors").stat().st_size == checkpoint.stat().st_size
