"""Tracing a swarm file: the trace document, and one JSON line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manta
from manta._trace import main
from manta.light._values import decode

Tree = Callable[[Mapping[str, str]], Path]

WORKER = """
    from manta.light.task import Task
    class Worker(Task):
        def run(self):
            pass
    def main():
        Worker().run()
"""
SWARM = """
    import numpy as np
    from manta.apis import Module, Swarm, Task
    class FedAvg(Swarm):
        def __init__(self):
            super().__init__(max_iteration=30)
            self.worker = Task(Module("worker.py", "pytorch", datasets=["digits"], resources={"memory": "1GiB"}))
            self.aggregator = Task(Module("modules/aggregator"), method="any", maximum=1, timeout="1m", quorum=0.5)
            self.set_global("rate", 0.1)
            self.set_global("model", {"w": np.ones(3)})
        def execute(self):
            return self.aggregator(self.worker())
"""
FILES = {
    "swarm.py": SWARM,
    "worker.py": WORKER,
    "modules/aggregator/__init__.py": "from .task import Aggregator\n",
    "modules/aggregator/task.py": WORKER.replace("Worker", "Aggregator"),
}


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Undo what importing a swarm file leaves in this process, and work beside the files."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = vars(sys.modules[name])
        if str(tmp_path) in f"{module.get('__file__')} {module.get('__path__')}":
            del sys.modules[name]


def trace(root: Path, target: str = "swarm.py", *options: str) -> dict[str, Any]:
    code = main([str(root / target), "--out", str(root / "out"), *options])
    assert code == 0
    return json.loads((root / "out" / "trace.json").read_text())


def refused(
    capfd: pytest.CaptureFixture[str], root: Path, target: str = "swarm.py", *options: str, exit_code: int = 4
) -> dict[str, Any]:
    assert main([str(root / target), "--out", str(root / "out"), *options]) == exit_code
    out, err = capfd.readouterr()
    assert out == ""
    told = json.loads(err.splitlines()[-1])
    assert set(told) == {"code", "message", "where", "hint"}
    assert not (root / "out").exists()
    return {**told, "stderr": err}


def test_the_document_holds_graph_modules_and_globals(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    root = tree(FILES)
    document = trace(root)
    assert capfd.readouterr().out == ""
    assert (document["schema_version"], document["name"], document["max_iteration"]) == (1, "FedAvg", 30)
    assert document["globals"] == [
        {"name": "rate", "file": "global-0.value"},
        {"name": "model", "file": "global-1.value"},
    ]
    assert decode((root / "out/global-1.value").read_bytes())["w"].tolist() == np.ones(3).tolist()
    assert document["modules"] == [
        {
            "name": "worker",
            "version": None,
            "image": "manta_light:pytorch",
            "datasets": ["digits"],
            "resources": {"memory_bytes": 2**30},
            "isolation": None,
            "description": None,
            "requires_manta": None,
            "images": [],
            "architectures": [],
            "include": [],
            "problems": [],
            "requires_python": None,
            "dependencies": None,
            "root": str(root / "worker.py"),
            "entry": {"file": "worker.py", "call": "main"},
        },
        {
            "name": "aggregator",
            "version": None,
            "image": "manta_light:latest",
            "datasets": [],
            "resources": {},
            "isolation": None,
            "description": None,
            "requires_manta": None,
            "images": [],
            "architectures": [],
            "include": [],
            "problems": [],
            "requires_python": None,
            "dependencies": None,
            "root": str(root / "modules/aggregator"),
            "entry": {"file": "__init__.py", "class": "Aggregator"},
        },
    ]
    worker, aggregator = document["tasks"]
    assert worker == {
        "alias": "worker",
        "module": 0,
        "after": [],
        "method": "all",
        "maximum": {"kind": "unlimited"},
        "gpu": False,
        "fixed": False,
        "excepted": [],
        "specified": None,
        "labels": {},
        "retries": 1,
        "timeout_s": None,
        "quorum": None,
        "deadline_s": None,
        "on_failure": "fail",
        "on_disconnect": "keep",
    }
    assert (aggregator["alias"], aggregator["after"]) == ("aggregator", [0])
    assert aggregator["maximum"] == {"kind": "count", "count": 1}
    assert (aggregator["timeout_s"], aggregator["quorum"]) == (60.0, {"kind": "share", "share": 0.5})


def test_aliases_are_unique_and_follow_the_rules(tree: Tree) -> None:
    swarm = """
        from manta.apis import Module, Swarm, Task
        extra = Task(Module("worker.py", name="extra"))
        class Many(Swarm):
            def __init__(self):
                self.stable = Task(Module("worker.py"), method="random", maximum=0.8)
                self.fresh = Task(Module("worker.py"), method="random", maximum=0.2)
                self.listed = [Task(Module("worker.py")), Task(Module("worker.py"))]
                self.keyed = {"a": Task(Module("worker.py"))}
                self.only = Task(Module("worker.py", name="single"))
                self.named = Task(Module("worker.py"), alias="mine")
            def execute(self):
                first = [self.stable(), self.fresh(), *[task() for task in self.listed], self.keyed["a"]()]
                return [self.only(first), self.named(), extra(), self.only()]
    """
    document = trace(tree({**FILES, "swarm.py": swarm}))
    aliases = ["stable", "fresh", "listed[0]", "listed[1]", "keyed[a]", "single", "mine", "extra", "single~2"]
    assert [task["alias"] for task in document["tasks"]] == aliases
    assert document["tasks"][5]["after"] == [0, 1, 2, 3, 4]
    assert document["tasks"][0]["maximum"] == {"kind": "share", "share": 0.8}


def test_a_module_without_code_is_its_images_own_program(tree: Tree) -> None:
    swarm = """
        from manta.apis import Module, Swarm, Task
        class One(Swarm):
            def __init__(self):
                self.convert = Task(Module(image="team/tool:1", datasets=["scans"], resources={"cpu": 2}))
    """
    (module,) = trace(tree({"swarm.py": swarm}))["modules"]
    assert (module["name"], module["image"], module["root"]) == ("tool", "team/tool:1", None)
    assert (module["datasets"], module["resources"]) == (["scans"], {"cpu": 2.0})
    assert module["entry"] == {"image": True}


def test_one_module_used_by_two_tasks_stands_once(tree: Tree) -> None:
    swarm = """
        from manta.apis import Module, Swarm, Task
        worker = Module("worker.py")
        class Two(Swarm):
            def __init__(self):
                self.a, self.b = Task(worker), Task(worker)
    """
    document = trace(tree({**FILES, "swarm.py": swarm}))
    assert [task["module"] for task in document["tasks"]] == [0, 0]
    assert [task["alias"] for task in document["tasks"]] == ["a", "b"]


def test_two_tasks_with_one_given_alias_are_refused(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = """
        from manta.apis import Module, Swarm, Task
        class Two(Swarm):
            def __init__(self):
                self.a, self.b = [Task(Module("worker.py"), alias="w") for _ in "ab"]
    """
    told = refused(capfd, tree({**FILES, "swarm.py": swarm}))
    assert told["code"] == "MANTA-0110" and 'alias "w"' in told["message"]


def test_set_changes_declared_globals_only(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    root = tree(FILES)
    trace(root, "swarm.py", "--set", "rate=0.5", "--set", "model=text=1")
    assert decode((root / "out/global-0.value").read_bytes()) == 0.5
    assert decode((root / "out/global-1.value").read_bytes()) == "text=1"
    (root / "out/trace.json").unlink()
    for file in (root / "out").iterdir():
        file.unlink()
    (root / "out").rmdir()
    told = refused(capfd, root, "swarm.py", "--set", "rat=1", exit_code=2)
    assert told["hint"] == 'did you mean "rate"?'
    assert "NAME=VALUE" in refused(capfd, root, "swarm.py", "--set", "rate", exit_code=2)["message"]


def test_a_wrong_path_or_class_is_a_usage_error(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    several = "from swarm import *\nclass A(Swarm): pass\nclass B(Swarm): pass\n"
    root = tree({**FILES, "several.py": several, "none.py": ""})
    assert "swarm.py" in refused(capfd, root, "swrm.py", exit_code=2)["hint"]
    assert refused(capfd, root, "swarm.py:FedAvgg", exit_code=2)["hint"] == 'did you mean "FedAvg"?'
    assert "2 swarms: A, B" in refused(capfd, root, "several.py", exit_code=2)["message"]
    assert "has no swarm" in refused(capfd, root, "none.py", exit_code=2)["message"]
    assert main([]) == 2


def test_a_class_a_variable_and_a_base_class_are_told_apart(tree: Tree) -> None:
    more = "class Better(FedAvg): pass\nmine = FedAvg()\nmine.name = 'mine'\n"
    swarm = textwrap.dedent(SWARM) + more
    root = tree({**FILES, "swarm.py": swarm})
    assert trace(root)["name"] == "Better"
    assert trace(root, "swarm.py:FedAvg")["name"] == "FedAvg"
    assert trace(root, "swarm.py:mine")["name"] == "mine"


def test_a_swarm_drawn_without_a_class_can_be_traced(tree: Tree) -> None:
    swarm = """
        from manta.apis import Module, Swarm, Task
        workers = [Task(Module("worker.py", name=f"w{n}")) for n in range(3)]
        aggregator = Task(Module("worker.py", name="agg"))
        drawn = Swarm.from_graph("drawn", aggregator([worker() for worker in workers]))
    """
    document = trace(tree({**FILES, "swarm.py": swarm}))
    assert [task["alias"] for task in document["tasks"]] == ["w0", "w1", "w2", "agg"]


def test_a_swarm_file_may_import_relatively_and_from_beside_it(tree: Tree) -> None:
    files = {
        "pkg/swarm.py": "from .modules.worker.model import RATE\nfrom . import other\n" + textwrap.dedent(SWARM),
        "pkg/other.py": "",
        "pkg/worker.py": WORKER,
        "pkg/modules/worker/model.py": "RATE = 1\n",
        "pkg/modules/aggregator/__init__.py": WORKER,
        "plain/swarm.py": "import helper\n" + textwrap.dedent(SWARM).replace("worker.py", "../pkg/worker.py"),
        "plain/helper.py": "",
        "plain/modules/aggregator/__init__.py": WORKER,
    }
    root = tree(files)
    assert trace(root, "pkg/swarm.py")["name"] == "FedAvg"
    assert trace(root, "plain/swarm.py")["modules"][0]["root"] == str(root / "pkg/worker.py")


@pytest.mark.parametrize("first", ["", "from . import other\n"])
def test_an_edit_within_a_second_that_keeps_the_length_is_seen(
    tree: Tree, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    root = tree({**{f"pkg/{name}": text for name, text in FILES.items()}, "pkg/other.py": ""})
    for name in ("FedOne", "FedTwo"):
        file = root / "pkg" / "swarm.py"
        file.write_text(first + textwrap.dedent(SWARM).replace("FedAvg", name))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        assert trace(root, "pkg/swarm.py")["name"] == name


def test_an_error_in_the_file_is_shown_with_the_users_frames(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    told = refused(capfd, tree({"swarm.py": "def f():\n    return 1 / 0\nprint('x')\nf()\n"}))
    assert (told["code"], told["where"]) == ("MANTA-0107", "swarm.py:2")
    assert "ZeroDivisionError" in told["message"]
    assert "in f" in told["stderr"] and "_swarm_file.py" not in told["stderr"]
    assert told["stderr"].startswith("x\n")


def test_a_syntax_error_in_the_file_is_located(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    assert refused(capfd, tree({"swarm.py": "\nclass :\n"}))["where"] == "swarm.py:2"


def test_a_refused_argument_is_located_in_the_users_file(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = textwrap.dedent(SWARM).replace('method="any"', 'method="anny"')
    told = refused(capfd, tree({**FILES, "swarm.py": swarm}))
    assert (told["code"], told["where"], told["hint"]) == ("MANTA-0105", "swarm.py:8", 'did you mean "any"?')


def test_execute_that_returns_nothing_is_told_what_to_return(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = textwrap.dedent(SWARM).replace("return self.aggregator", "self.aggregator")
    told = refused(capfd, tree({**FILES, "swarm.py": swarm}))
    assert told["code"] == "MANTA-0106" and "returned None" in told["message"]
    assert "return the last call" in told["hint"]


def test_a_swarm_that_needs_arguments_is_told_how(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = textwrap.dedent(SWARM).replace("def __init__(self)", "def __init__(self, rate)")
    told = refused(capfd, tree({**FILES, "swarm.py": swarm}))
    assert told["code"] == "MANTA-0107" and "needs arguments: rate" in told["message"]


def test_a_published_module_is_named_with_what_goes_before_its_own(tree: Tree) -> None:
    swarm = textwrap.dedent(SWARM).replace('"worker.py", "pytorch"', '"fl_worker", "numpy", version="^1.1"')
    told = trace(tree({**FILES, "swarm.py": swarm}))["modules"][0]
    assert (told["published"], told["version"], told["image"]) == ("fl_worker", "^1.1", "manta_light:numpy")
    assert told["datasets"] == ["digits"] and told["entry"] is None


def test_a_file_that_runs_its_swarm_when_imported_is_refused(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    told = refused(capfd, tree({**FILES, "swarm.py": textwrap.dedent(SWARM) + "FedAvg().run()\n"}))
    assert told["code"] == "MANTA-0107" and "__main__" in told["hint"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read by the standard library from 3.11 on")
def test_a_modules_own_metadata_fills_what_the_constructor_leaves_out(tree: Tree) -> None:
    block = """
        # /// script
        # dependencies = []
        # [tool.manta.module]
        # name = "told"
        # version = "1.2.3"
        # image = "numpy"
        # datasets = ["faces"]
        # resources = { cpu = 2 }
        # ///
    """
    toml = '[project]\nname = "x"\n[tool.manta.module]\nversion = "0.1.0"\ndescription = "adds up"\n'
    files = {
        **FILES,
        "worker.py": textwrap.dedent(block).lstrip() + textwrap.dedent(WORKER),
        "modules/aggregator/pyproject.toml": toml,
    }
    worker, aggregator = trace(tree(files))["modules"]
    assert (worker["name"], worker["version"], worker["image"]) == ("told", "1.2.3", "manta_light:pytorch")
    assert (worker["datasets"], worker["resources"]) == (["digits"], {"memory_bytes": 2**30})
    assert (aggregator["version"], aggregator["description"]) == ("0.1.0", "adds up")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read by the standard library from 3.11 on")
def test_metadata_with_an_unknown_key_is_refused(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    files = {**FILES, "modules/aggregator/pyproject.toml": "[tool.manta.module]\nverson = '1.0.0'\n"}
    told = refused(capfd, tree(files))
    assert told["code"] == "MANTA-0110" and told["hint"] == 'did you mean "version"?'


def test_as_a_program_it_keeps_stdout_clean_and_tells_on_stderr(tree: Tree) -> None:
    root = tree({**FILES, "swarm.py": "print('user output')\n" + textwrap.dedent(SWARM)})
    environment = {**os.environ, "PYTHONPATH": str(Path(manta.__file__).parents[1])}
    command = [sys.executable, "-m", "manta._trace", "swarm.py", "--out", "out"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "user output" in done.stderr and (root / "out/trace.json").exists()
