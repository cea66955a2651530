import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import weightzip
from weightzip.interface import TensorSpec

HEAVY = ("torch", "numpy", "matplotlib", "torchvision", "safetensors", "rich")


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_it_imports_nothing_heavy():
    assert run(f"import sys, weightzip; print([name for name in {HEAVY} if name in sys.modules])") == "[]\n"


def test_everything_it_announces_is_there():
    for name in weightzip.__all__:
        assert getattr(weightzip, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        weightzip.missing  # noqa: B018


def test_nothing_is_printed_on_first_use():
    """Some versions of constriction write warnings to stdout, where only data belongs."""
    assert run("import torch, weightzip; weightzip.compress({'w': torch.ones(3, 3)}, dry_run=True)") == ""


def test_the_version_is_that_of_the_installed_package():
    assert weightzip.__version__ == version("weightzip")


def test_the_program_is_installed():
    (program,) = entry_points(group="console_scripts", name="weightzip")
    assert program.value == "weightzip.cli.main:run"


def test_types_are_for_others_to_use():
    assert (Path(weightzip.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((0,), 0), ((3, 4), 12), ((2**40, 2**10), 2**50), ((5, 0, 7), 0)])
def test_elements_of_a_shape(shape, count):
    assert TensorSpec("w", shape, "float32").num_elements == count
