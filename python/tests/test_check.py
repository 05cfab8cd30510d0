"""A module is read before it is packed: its entry point, its syntax, the names in its clauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from manta._check import check_module
from manta._errors import AuthoringError

Tree = Callable[[Mapping[str, str]], Path]
TASK = "from manta.light.task import Task\n"


@pytest.fixture(autouse=True)
def beside_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(root: Path, code: str, where: str, *parts: str, entry: str | None = None) -> None:
    with pytest.raises(AuthoringError) as caught:
        check_module(root, entry)
    assert caught.value.code == f"MANTA-{code}"
    assert caught.value.where == where
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("def main(): pass", {"call": "main"}),
        ("async def main(): pass", {"call": "main"}),
        ("def main(n=3, *rest, key=1): pass", {"call": "main"}),
        ("def go(): pass\nmain = go", {"call": "main"}),
        ("try:\n    from fast import main\nexcept ImportError:\n    def main(): pass", {"call": "main"}),
        (TASK + "class A(Task): pass\ndef main(): pass", {"call": "main"}),
        (TASK + "class A(Task): run = print", {"class": "A"}),
        ("from manta.light import Task as T\nclass A(T): run = print", {"class": "A"}),
        ("import manta.light.task\nclass A(manta.light.task.Task): run = print", {"class": "A"}),
        ("import manta.light as ml\nclass A(ml.Task): run = print", {"class": "A"}),
        ("from manta.light import task\nclass A(task.Task): run = print", {"class": "A"}),
        ("from manta.light.task import *\nclass A(Task): run = print", {"class": "A"}),
        (TASK + "class Base(Task): run = print\nclass A(Base): pass", {"class": "A"}),
        (TASK + "class Helper: run = print\nclass A(Helper, Task): pass", {"class": "A"}),
    ],
    ids=range(14),
)
def test_the_entry_point_of_a_file_is_found(tree: Tree, code: str, entry: dict[str, str]) -> None:
    assert check_module(tree({"m.py": code}) / "m.py") == {"file": "m.py", **entry}


@pytest.mark.parametrize(
    ("init", "entry"),
    [
        ("from .task import Worker", {"class": "Worker"}),
        ("from .task import Worker as W", {"class": "W"}),
        ("from .task import *", {"class": "Worker"}),
        ("from task import Worker", {"class": "Worker"}),
        ("from .sub import Deep", {"class": "Deep"}),
        ("from . import task\nclass A(task.Worker): pass", {"class": "A"}),
        ("from .sub.deep import Deep\nfrom .task import Worker", {"class": "Deep"}),
        ("from .run import main", {"call": "main"}),
        ("from .run import *", {"call": "main"}),
    ],
    ids=range(9),
)
def test_the_entry_point_of_a_directory_may_be_imported(tree: Tree, init: str, entry: dict[str, str]) -> None:
    files = {
        "w/__init__.py": init,
        "w/task.py": TASK + "class Worker(Task): run = print",
        "w/sub/__init__.py": "from .deep import Deep",
        "w/sub/deep.py": "from ..task import Worker\nclass Deep(Worker): pass",
        "w/run.py": "def main(): pass",
    }
    assert check_module(tree(files) / "w") == {"file": "__init__.py", **entry}


def test_a_named_class_is_the_entry_even_beside_a_main(tree: Tree) -> None:
    root = tree({"m.py": TASK + "class A(Task): pass\nclass B(Task): run = print\ndef main(): pass"})
    assert check_module(root / "m.py", "B") == {"file": "m.py", "class": "B"}
    refused(root / "m.py", "0102", "m.py:1", "A (m.py:2), B (m.py:3)", entry="C")


def test_a_module_with_no_entry_point_lists_the_classes_found(tree: Tree) -> None:
    root = tree({"m.py": "x = 1\nclass A: pass\n", "w/__init__.py": "", "w/task.py": TASK + "class W(Task): pass"})
    refused(root / "m.py", "0102", "m.py:2", "neither", "A (m.py:2)", "def main()")
    refused(root / "w", "0102", "w/__init__.py:1", "no classes", "import it in `__init__.py`")


def test_a_module_with_several_task_classes_must_name_one(tree: Tree) -> None:
    root = tree({"m.py": TASK + "class A(Task): pass\nclass B(Task): pass\n"})
    refused(root / "m.py", "0102", "m.py:2", "2 task classes: A, B", 'entry="A"')


def test_a_task_class_without_run_is_refused(tree: Tree) -> None:
    root = tree({"m.py": TASK + "class A(Task):\n    def rum(self): pass\n    def other(self): pass\n"})
    refused(root / "m.py", "0102", "m.py:3", "`A` has no `run()`", "did you mean `run` by `rum`?")
    refused(root / "m.py", "0102", "m.py:3", "did you mean", entry="A")
    root = tree({"n.py": TASK + "class Base(Task):\n    size = 3\nclass A(Base): pass\n"})
    refused(root / "n.py", "0102", "n.py:4", "`A` has no `run()`", "add `def run(self): ...`")


@pytest.mark.parametrize(
    "code",
    [
        "class A(Task):\n    if True:\n        async def run(self): pass",
        "class A(Task):\n    from helper import run",
        "from library import Base\nclass A(Base, Task): pass",
        "import library\n@library.runs\nclass A(Task): pass",
        "class A(Task):\n    def __init__(self): self.run = print",
        "class A(Task): pass\nA.run = print",
        "class A(Task): pass\nsetattr(A, 'run', print)",
        "import abc\nclass A(Task, abc.ABC):\n    def run(self): pass",
        "class A(Task):\n    def __getattr__(self, name): return print",
        "class A(Task):\n    def __new__(cls): return Other()\nclass Other:\n    def run(self): pass",
        "class A(Task):\n    def __init__(self): self.__dict__['run'] = print",
    ],
    ids=range(11),
)
def test_a_task_class_that_may_have_run_from_elsewhere_is_accepted(tree: Tree, code: str) -> None:
    assert check_module(tree({"m.py": TASK + code}) / "m.py") == {"file": "m.py", "class": "A"}


def test_a_task_class_may_get_its_run_from_the_file_of_the_entry(tree: Tree) -> None:
    files = {"w/__init__.py": "from .task import A\nA.run = print", "w/task.py": TASK + "class A(Task): pass"}
    assert check_module(tree(files) / "w") == {"file": "__init__.py", "class": "A"}


def test_a_main_that_needs_arguments_is_refused(tree: Tree) -> None:
    refused(tree({"m.py": "\ndef main(config): pass"}) / "m.py", "0102", "m.py:2", "needs 1 arguments")


def test_a_syntax_error_is_told_with_file_and_line(tree: Tree) -> None:
    refused(tree({"m.py": "def main():\n    x = = 1\n"}) / "m.py", "0103", "m.py:2")
    root = tree({"w/__init__.py": "def main(): pass", "w/sub/b.py": "\n\n("})
    refused(root / "w", "0103", "w/sub/b.py:3", "b.py")


def test_files_that_are_not_packed_are_not_checked(tree: Tree) -> None:
    files = {
        "w/__init__.py": "def main(): pass",
        "w/.hidden/a.py": "(",
        "w/__pycache__/b.py": "(",
        "w/venv/pyvenv.cfg": "",
        "w/venv/lib/c.py": "(",
    }
    check_module(tree(files) / "w")


@pytest.mark.parametrize(
    ("clause", "hint"),
    [
        ("DataCorruptionError as e", "from manta.light.errors import DataCorruptionError"),
        ("(ValueError, ResourceExhaustionError)", "from manta.light.errors import ResourceExhaustionError"),
        ("json.JSONDecodeError", "import json"),
        ("JSONDecodeError", "from json import JSONDecodeError"),
        ("ValueErorr", "did you mean `ValueError`?"),
        ("DataCorruptonError", "from manta.light.errors import DataCorruptionError"),
        ("MyError", "import or define `MyError`"),
    ],
)
def test_an_unbound_name_in_an_except_clause_is_refused_with_the_import(tree: Tree, clause: str, hint: str) -> None:
    root = tree({"m.py": f"def main():\n    try:\n        pass\n    except {clause}:\n        pass\n"})
    refused(root / "m.py", "0109", "m.py:4", hint)


@pytest.mark.parametrize(
    "code",
    [
        "except ValueError: pass",
        "except (OSError, KeyError) as e: pass",
        "except Mine: pass\nclass Mine(Exception): pass",
        "except np.linalg.LinAlgError: pass\nimport numpy as np",
        "except Late: pass\ndef f():\n    global Late\n    from x import Late",
        "except Starred: pass\nfrom x import *",
        "except given: pass\ndef f(given): pass",
        "except first: pass\nfirst, second = OSError, KeyError",
        "except: pass",
    ],
)
def test_a_bound_name_in_an_except_clause_is_accepted(tree: Tree, code: str) -> None:
    check_module(tree({"m.py": f"def main(): pass\ntry:\n    pass\n{code}\n"}) / "m.py")


def test_every_file_of_a_directory_is_checked_for_unbound_names(tree: Tree) -> None:
    root = tree({"w/__init__.py": "def main(): pass", "w/b.py": "try:\n    pass\nexcept Gone:\n    pass\n"})
    refused(root / "w", "0109", "w/b.py:3", "Gone")


def test_imports_that_go_round_in_a_circle_end(tree: Tree) -> None:
    root = tree({"w/__init__.py": "from .a import *", "w/a.py": "from .b import *", "w/b.py": "from .a import *"})
    refused(root / "w", "0102", "w/__init__.py:1")
    root = tree({"v/__init__.py": "class A(A): pass\nA = A\n"})
    refused(root / "v", "0102", "v/__init__.py:1")
