"""Every example in a docstring is a test."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import weightzip

MODULES = ["weightzip"]
for package in ("weightzip", "weightzip.cli", "weightzip.zoo"):
    # Its own folder only: in a source checkout, `weightzip` also looks for `cli` and `zoo` in the folder above.
    folder = str(Path(importlib.import_module(package).__file__).parent)
    MODULES += [found.name for found in pkgutil.walk_packages([folder], f"{package}.") if not found.name.endswith("__main__")]
MODULES = sorted(set(MODULES))


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some examples write files
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_are_found():
    finder = doctest.DocTestFinder()
    with_examples = [name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(with_examples) >= 10
    assert {"weightzip", "weightzip.files", "weightzip.container.write", "weightzip.search.bisect"} <= set(with_examples)
    assert weightzip.__doc__.count(">>>") >= 3
