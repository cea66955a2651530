import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import weightzip
from weightzip.interface import TensorSpec

HEAVY = ("torch", "numpy", "matplotlib", "torchvision", "safetensors", "rich", "huggingface_hub")


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


USERS_SCRIPT = """
import torch
import weightzip
import weightzip.hub

module = torch.nn.Linear(3, 2)
summary = weightzip.compress(module, "model.wz", ratio=12, seed=1)
reveal_type(summary["ratio"])
reveal_type(weightzip.restore("model.wz"))
weightzip.load_into(module, "model.wz")
reveal_type(weightzip.info("model.wz")["tensor_list"][0]["shape"])
with weightzip.open("model.wz", memory=1_000_000) as file:
    reveal_type(file)
    reveal_type(file.get_tensor("weight"))
    reveal_type(file.get_slice("weight")[0, :2])
    reveal_type({name: tensor.mean() for name, tensor in file.items()})


class Model:
    @classmethod
    def from_pretrained(cls, folder: str, dtype: str = "auto") -> torch.nn.Module:
        return torch.nn.Linear(3, 2)


reveal_type(weightzip.hub.compress_pretrained("bert", "small", ratio=12).folder)
reveal_type(weightzip.hub.from_pretrained(Model, "small"))
weightzip.compress(module, ratio="twelve")
weightzip.restore(module)
"""

REVEALED = [  # as newer versions of mypy write it
    "float",
    "dict[str, torch._tensor.Tensor]",
    "list[int]",
    "weightzip.reading.Reader",
    "torch._tensor.Tensor",
    "torch._tensor.Tensor",
    "dict[str, torch._tensor.Tensor]",
    "pathlib.Path",
    "torch.nn.modules.module.Module",
]


@pytest.mark.slow
@pytest.mark.ci
def test_a_users_script_is_checked_against_its_types(tmp_path):
    """As installed: in a folder of packages, where types count only if `py.typed` says so."""
    home = Path(weightzip.__file__).parent
    for folder, target in ((home, "weightzip"), (home.parent / "cli", "weightzip/cli"), (home.parent / "zoo", "weightzip/zoo")):
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / "lib" / target, ignore=shutil.ignore_patterns("__pycache__", "data"))
    (tmp_path / "script.py").write_text(USERS_SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--cache-dir", "cache", "script.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    lines = result.stdout.splitlines()
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in lines if "Revealed" in line]
    assert [found.replace("builtins.", "") for found in revealed] == REVEALED
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == 2, result.stdout
    assert '"ratio" to "compress" has incompatible type "str"' in errors[0]
    assert 'Argument 1 to "restore" has incompatible type "Linear"' in errors[1]


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((0,), 0), ((3, 4), 12), ((2**40, 2**10), 2**50), ((5, 0, 7), 0)])
def test_elements_of_a_shape(shape, count):
    assert TensorSpec("w", shape, "float32").num_elements == count
