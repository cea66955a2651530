"""Nothing that is read may be executed: no pickle, no eval, and torch's loader in its safe mode only."""

import ast
from pathlib import Path

import pytest

import weightzip

PACKAGE = Path(weightzip.__file__).parent
ROOTS = [PACKAGE, *(PACKAGE.parent / name for name in ("cli", "zoo") if not (PACKAGE / name).is_dir())]
SOURCES = sorted(path for root in ROOTS for path in root.rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def imported_modules(tree):
    """The top-level names of all modules that a file imports, or imports more from than the name of an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} != {"UnpicklingError"}:
            yield (node.module or "").split(".")[0]


def calls(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node):
    """`a.b.c` as text; anything else as an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and dotted(node.value):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def problems(source):
    """What a file does that it must not."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in imported_modules(tree) if name in FORBIDDEN_MODULES]
    for call in calls(tree):
        name = dotted(call.func)
        if name in FORBIDDEN_CALLS:
            found.append(f"calls {name}")
        safe = any(
            keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            for keyword in call.keywords
        )
        if name in ("torch.load", "torch.jit.load", "torch.hub.load") and not safe:
            found.append(f"calls {name} without weights_only=True")
        unpickles = any(
            keyword.arg == "allow_pickle" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            for keyword in call.keywords
        )
        if unpickles:
            found.append(f"calls {name} with allow_pickle")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem if path.stem != "__init__" else path.parent.name for path in SOURCES])
def test_no_source_file_executes_what_it_reads(path):
    assert problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "eval(text)",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_this_check_would_notice(source):
    assert len(problems(source)) == 1


def test_all_rooms_are_looked_at():
    assert {"api.py", "format.py", "read.py", "main.py", "registry.py"} <= {path.name for path in SOURCES}
