import subprocess
import sys
import threading
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import torch

import weightzip
from weightzip.errors import UsageError
from weightzip.interface import TensorSpec
from weightzip.threads import limited_threads, side_by_side

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


@pytest.mark.parametrize("error", [None, ValueError])
def test_threads_are_limited_for_a_while(error):
    before = torch.get_num_threads()
    try:
        with limited_threads(2):
            assert torch.get_num_threads() == 2
            if error:
                raise error
    except ValueError:
        pass
    assert torch.get_num_threads() == before
    with limited_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(threads):
    with pytest.raises(UsageError, match=f"at least 1, not {threads}"), limited_threads(threads):
        pass


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((0,), 0), ((3, 4), 12), ((2**40, 2**10), 2**50), ((5, 0, 7), 0)])
def test_elements_of_a_shape(shape, count):
    assert TensorSpec("w", shape, "float32").num_elements == count


def test_working_side_by_side_leaves_other_threads_alone():
    seen = []
    with limited_threads(2):
        assert side_by_side(lambda item: (item, torch.get_num_threads()), [3, 1, 2]) == [(3, 1), (1, 1), (2, 1)]
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (seen, torch.get_num_threads()) == ([2], 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_of_what_is_done_side_by_side_is_raised(threads):
    def fail(item):
        if item % 2:
            raise ValueError(item)
        return item

    with limited_threads(threads), pytest.raises(ValueError, match=r"^1$"):
        side_by_side(fail, range(6))
