"""What can be said of a module without running it: its names, and how they fit into a swarm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from manta._interface import interface_of
from manta._module_check import check, main

Tree = Callable[[Mapping[str, str]], Path]

FILES = {
    "worker/__init__.py": '''
        """Trains."""
        from .work import Worker
        def main():
            Worker().run()
    ''',
    "worker/work.py": """
        from manta.light import Task

        class Worker(Task):
            def run(self):
                data = self.local.get_dataset("digits")
                model = self.world.globals["model"]
                rate = self.world.globals.get("rate", 0.1)
                self.world.results.add("update", model)
                self.local.set_state("seen", self.local.get_state("seen", 0) + 1)
    """,
    "mean.py": """
        from manta.light import Task

        class Mean(Task):
            def run(self):
                updates = self.world.results.select("updates")
                weights = self.world.results.select("weights", default=None)
                self.world.globals["modell"] = 1
                self.world.globals.update(more=2)

        class Other(Task):
            def run(self):
                self.world.results.select("of another task")
    """,
    "swarm.py": """
        from manta.apis import Module, Swarm, Task

        class Learning(Swarm):
            def __init__(self):
                self.worker = Task(Module("worker", datasets=["digit"]))
                self.mean = Task(Module("mean.py", entry="Mean"))

            def execute(self):
                return self.mean(self.worker())
    """,
}


def test_names_are_found_where_they_first_stand(tree: Tree) -> None:
    root = tree(FILES)
    found = interface_of(root / "worker")
    assert found.doc == "Trains."
    assert {name: use.where for name, use in found.publishes.items()} == {"update": "work.py:9"}
    assert {name: use.needed for name, use in found.reads.items()} == {"model": True, "rate": False}
    assert (list(found.datasets), list(found.state)) == (["digits"], ["seen"])
    mean = interface_of(root / "mean.py", "Mean")
    assert {name: use.needed for name, use in mean.selects.items()} == {"updates": True, "weights": False}
    assert sorted(mean.writes) == ["modell", "more"]


@pytest.mark.parametrize(
    ("module", "problems"),
    [
        (
            "worker",
            [
                'work.py:6: the module does not list the dataset "digits"; it lists "digit"; did you mean "digit"?',
                'work.py:7: the swarm has no global "model"; did you mean "modell"?',
            ],
        ),
        (
            "mean.py",
            ['mean.py:6: no task before this one publishes "updates"; they publish "update"; did you mean "update"?'],
        ),
    ],
)
def test_names_that_do_not_fit_the_swarm_are_told_with_the_nearest(
    tree: Tree, module: str, problems: list[str]
) -> None:
    root = tree(FILES)
    assert check(root / module, f"{root / 'swarm.py'}:Learning")["problems"] == problems


def test_the_program_tells_by_its_exit_code(tree: Tree, capfd: pytest.CaptureFixture[str]) -> None:
    root = tree({**FILES, "nothing.py": "x = 1\n", "unused.py": "def main(): pass\n"})

    def outcome(*arguments: str) -> tuple[int, Any]:
        code = main([*map(str, arguments)])
        out, err = capfd.readouterr()
        return code, json.loads(out or err)

    code, document = outcome(str(root / "worker"))
    assert (code, document["problems"], document["entry"]) == (0, [], {"file": "__init__.py", "call": "main"})
    code, document = outcome(str(root / "mean.py"), "--swarm", str(root / "swarm.py"))
    assert code == 1 and len(document["problems"]) == 1
    code, document = outcome(str(root / "unused.py"), "--swarm", str(root / "swarm.py"))
    assert code == 1 and "no task of the swarm" in document["problems"][0]
    code, document = outcome(str(root / "nothing.py"))
    assert code == 4 and document["code"] == "MANTA-0102"
    code, document = outcome(str(root / "absent.py"))
    assert code == 4 and document["code"] == "MANTA-0101"
