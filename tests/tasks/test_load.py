import sys

import pytest

from weightzip.errors import TaskError, UsageError
from weightzip.tasks import load_task

TASK = """
class Task:
    name = "mine"
    metric = "negative loss"

    def model(self): ...
    def evaluate(self, model): return 1.0

task = Task()

def make():
    return Task()
"""


@pytest.fixture
def write(tmp_path):
    def write_task(source, name="task.py"):
        path = tmp_path / name
        path.write_text(source)
        return path

    return write_task


def test_zoo_task():
    task = load_task("zoo:mnist-cnn")
    assert (task.name, task.metric) == ("zoo:mnist-cnn", "top-1 accuracy, %")


def test_unknown_zoo_name():
    with pytest.raises(UsageError, match=r"did you mean mnist-fnn\? choose from mnist-fnn, mnist-cnn"):
        load_task("zoo:mnist-fn")


@pytest.mark.parametrize("object_name", ["task", "Task", "make"])
def test_instance_class_and_factory(write, object_name):
    task = load_task(f"{write(TASK)}:{object_name}")
    assert (task.name, task.metric, task.evaluate(None)) == ("mine", "negative loss", 1.0)


def test_complete_instance_that_is_callable_is_not_called(write):
    path = write(TASK + "class Called(Task):\n    def __call__(self): raise ValueError\n\ncalled = Called()\n")
    assert load_task(f"{path}:called").name == "mine"


def test_dataclass_task(write):
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + TASK.replace(
        "class Task", "@dataclass(frozen=True)\nclass Task"
    )
    assert load_task(f"{write(source)}:task").name == "mine"


def test_what_the_file_and_the_factory_print_goes_to_stderr(write, capsys):
    path = write("print('loading')" + TASK + "def chatty():\n    print('making')\n    return Task()\n")
    load_task(f"{path}:chatty")
    sys.stdout.write("data\n")
    assert capsys.readouterr() == ("data\n", "loading\nmaking\n")


def test_file_imports_its_neighbour(write, tmp_path):
    write(TASK, "a_neighbour_of_the_task.py")
    path = write("from a_neighbour_of_the_task import task")
    assert load_task(f"{path}:task").name == "mine"
    assert str(tmp_path) not in sys.path


def test_files_of_one_name_stay_apart(write, tmp_path):
    (tmp_path / "other").mkdir()
    first = load_task(f"{write(TASK)}:task")
    second = load_task(f"{write(TASK.replace('mine', 'yours'), 'other/task.py')}:task")
    assert (first.name, second.name) == ("mine", "yours")


@pytest.mark.parametrize("spec", ["", ":", "zoo", "zoo:", "mnist-fnn", "task.py", "task.py:", ":task", "task.txt:task"])
def test_neither_form(spec):
    with pytest.raises(UsageError, match=r"a task is zoo:NAME or path/to/file.py:OBJECT"):
        load_task(spec)


def test_missing_file(tmp_path):
    with pytest.raises(TaskError, match=r"missing.py: no such file"):
        load_task(f"{tmp_path / 'missing.py'}:task")


def test_folder_is_no_file(tmp_path):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(TaskError, match=r"folder.py: no such file"):
        load_task(f"{tmp_path / 'folder.py'}:task")


def test_missing_object(write):
    with pytest.raises(TaskError, match="has no 'tusk'"):
        load_task(f"{write(TASK)}:tusk")


def test_incomplete_task(write):
    path = write("class Task:\n    name = 'mine'\n    metric = 3\n    def model(self): ...\n")
    with pytest.raises(TaskError, match=r"it lacks metric \(a str\), evaluate\(\)$"):
        load_task(f"{path}:Task")


def test_object_that_is_no_task(write):
    with pytest.raises(TaskError, match="not a complete task; it lacks name"):
        load_task(f"{write('number = 3')}:number")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:", "SyntaxError: "),
        ("import a_module_that_is_nowhere", "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"),
        ("raise ValueError('first line\\nsecond line')", r"ValueError: first line \(task.py, line 1\) while"),
        ("raise RuntimeError", r"RuntimeError \(task.py, line 1\) while"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_file_that_raises(write, source, reason):
    modules = set(sys.modules)
    with pytest.raises(TaskError, match=f"task.py: raised {reason}") as caught:
        load_task(f"{write(source)}:task")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not [name for name in set(sys.modules) - modules if name.startswith("weightzip_task_")]


def test_factory_that_raises(write):
    with pytest.raises(TaskError, match=r"make\(\) raised ZeroDivisionError: division by zero"):
        load_task(f"{write('def make(): return 1 / 0')}:make")


def test_factory_with_arguments(write):
    with pytest.raises(TaskError, match=r"make\(\) raised TypeError: .*argument"):
        load_task(f"{write('def make(size): ...')}:make")


def test_interrupt_passes(write):
    with pytest.raises(KeyboardInterrupt):
        load_task(f"{write('raise KeyboardInterrupt')}:task")
