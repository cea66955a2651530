"""Finding the task that a user means by `zoo:NAME` or `path/to/file.py:OBJECT`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

from weightzip.errors import TaskError, UsageError
from weightzip.tasks.messages import describe_error, prints_go_to_stderr
from weightzip.tasks.protocol import Task

_FORMS = "a task is zoo:NAME or path/to/file.py:OBJECT"


@prints_go_to_stderr()
def load_task(spec: str) -> Task:
    """The task named by `spec`.

    spec: `zoo:NAME` for one of the zoo's tasks, or `path/to/file.py:OBJECT`, where OBJECT is an instance, a class or a
    function without arguments that makes one. The file is executed; modules beside it can be imported by it.
    What it prints goes to stderr.

    Raises UsageError for a spec of neither form or an unknown zoo name, TaskError where the file or the object is
    missing, incomplete, or raises an error.
    """
    source, separator, object_name = spec.rpartition(":")
    if not separator or not source or not object_name:
        raise UsageError(f"{spec!r}: not a task; {_FORMS}")
    if source == "zoo":
        return _zoo_task(object_name)
    path = Path(source)
    if path.suffix != ".py":
        raise UsageError(f"{spec!r}: not a task; {_FORMS}")
    return _complete(_instance(_execute(path), object_name, spec), spec)


def _zoo_task(name: str) -> Task:
    from weightzip.zoo import entry

    entry(name)  # an unknown name is refused before torch is loaded
    from weightzip.zoo.tasks import ZooTask

    return ZooTask(name)


def _execute(path: Path) -> ModuleType:
    """Run the user's file as a module of a name that no other module has."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file; {_FORMS}")
    path = path.resolve()
    name = f"weightzip_task_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise TaskError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        with _importable(path.parent):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TaskError(f"{path}: raised {describe_error(error)} while it was loaded; correct that file") from error
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _instance(module: ModuleType, object_name: str, spec: str) -> object:
    """The object of that name, or what it makes where it is a class or a function."""
    if not hasattr(module, object_name):
        raise TaskError(f"{spec}: the file has no {object_name!r}; name an object that it defines")
    found = getattr(module, object_name)
    if not isinstance(found, type) and not _missing_members(found):
        return found
    if not callable(found):
        return cast(object, found)
    try:
        return cast(object, found())
    except (Exception, SystemExit) as error:
        raise TaskError(f"{spec}: {object_name}() raised {describe_error(error)}") from error


def _complete(found: object, spec: str) -> Task:
    missing = _missing_members(found)
    if missing:
        raise TaskError(f"{spec}: not a complete task; it lacks {', '.join(missing)}")
    return cast(Task, found)


def _missing_members(found: object) -> list[str]:
    """The members that every task has and `found` has not, or has in the wrong kind."""
    texts = [f"{name} (a str)" for name in ("name", "metric") if not isinstance(getattr(found, name, None), str)]
    methods = [f"{name}()" for name in ("model", "evaluate") if not callable(getattr(found, name, None))]
    return texts + methods
