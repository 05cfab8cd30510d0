"""One attempt of the past in a process of its own, from what the manager recorded of it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from manta.light.utils import bytes_to_numpy, numpy_to_bytes

PACKAGE = Path(__file__).resolve().parents[1]


class Recorded:
    """A folder as ``manta replay --local`` lays it out."""

    def __init__(self, folder, body):
        self.folder = folder
        for name in ("code", "values", "out"):
            (folder / name).mkdir()
        code = "from manta.light.task import Task\n\nclass Worker(Task):\n    def run(self):\n"
        (folder / "code" / "worker.py").write_text(code + textwrap.indent(textwrap.dedent(body), " " * 8))
        self.inputs = {
            "globals": [],
            "results": [],
            "missing": [{"task": "train", "node": "node-9", "reason": "lost"}],
            "tasks": ["train", "sum"],
            "nodes": ["node-1", "node-2"],
        }
        self.datasets = {}
        self.options = {"pdb": False, "break_first": False}

    def value(self, value):
        """Record a value; return its blob."""
        data = numpy_to_bytes(value)
        digest = f"{len(list((self.folder / 'values').iterdir())):064x}"
        (self.folder / "values" / digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def result(self, node, value, *, task="train", name="w", distance=1):
        """Record a result in the attempt's scope."""
        entry = {"task": task, "iteration": 2, "node": node, "labels": {"site": "a"}, "name": name}
        self.inputs["results"].append({**entry, "blob": self.value(value), "distance": distance})

    def run(self, talk=""):
        """Run the attempt; return what it left, and what it said."""
        attempt = {
            "id": "at_1",
            "swarm": "sw_1",
            "swarm_name": "FedAvg",
            "task": "sum",
            "node": "node-1",
            "iteration": 2,
            "number": 1,
            "seed": 42,
            "datasets": list(self.datasets),
            "limits": {"memory_bytes": 1 << 30},
            "inputs": self.inputs,
        }
        module = {"name": "worker", "version": "1.0.0", "entry": {"file": "worker.py", "class": "Worker"}}
        document = {"attempt": attempt, "module": module, "datasets": self.datasets, **self.options}
        (self.folder / "replay.json").write_text(json.dumps(document))
        ended = subprocess.run(
            [sys.executable, "-B", "-m", "manta._replay", str(self.folder)],
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            input=talk,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (self.folder / "begun").exists(), ended.stderr
        left = json.loads((self.folder / "outcome.json").read_text())
        assert ended.returncode == (0 if left["failure"] is None else 1), ended.stderr
        return left, ended.stdout + ended.stderr

    def saved(self, left, kind="results"):
        """Return the values that the task left, by name."""
        return {
            entry["name"]: bytes_to_numpy((self.folder / "out" / entry["file"]).read_bytes()) for entry in left[kind]
        }


@pytest.fixture
def recorded(tmp_path):
    """Record an attempt of a task with that body."""
    return lambda body: Recorded(tmp_path, body)


def test_a_task_reads_what_was_recorded_and_its_values_are_saved(recorded):
    attempt = recorded("""
        import random
        chosen = self.world.results.select("w")
        self.logger.info("selected %s", list(chosen))
        self.world.results.add("sum", sum(chosen.values()))
        self.world.results.add("drawn", random.random())
        self.world.globals["rate"] = self.world.globals["rate"] / 2
        self.world.results.add("rate", self.world.globals["rate"])
        self.world.results.add("who", [str(self.node), self.iteration, self.attempt, self.seed, dict(chosen.missing)])
    """)
    attempt.inputs["globals"].append({"name": "rate", "revision": 3, "writer": None, "blob": attempt.value(0.5)})
    attempt.result("node-2", 4)
    attempt.result("node-1", 3)
    attempt.result("node-1", 100, task="sum", distance=2)
    left, said = attempt.run()
    assert left["failure"] is None and not left["abandoned"]
    values = attempt.saved(left)
    assert (values["sum"], values["rate"]) == (7, 0.25), "the nearest predecessor that published the name"
    assert values["who"] == ["node-1", 2, 1, 42, {"node-9": "lost"}]
    assert attempt.saved(left, "globals") == {"rate": 0.25}
    assert "info: selected ['node-1', 'node-2']" in said
    again, _ = attempt.run()
    assert attempt.saved(again)["drawn"] == values["drawn"], "the same seed draws the same"


def test_a_failure_is_told_as_a_node_tells_it(recorded):
    attempt = recorded("""
        self.world.results.add("before", 1)
        raise ValueError("shapes differ")
    """)
    left, _ = attempt.run()
    assert attempt.saved(left) == {"before": 1}
    failure = left["failure"]
    assert (failure["class"], failure["message"]) == ("user_error", "ValueError: shapes differ")
    assert failure["location"] == "worker.py:7" and "raise ValueError" in failure["traceback"]


def test_what_the_attempt_could_not_do_is_refused_here_too(recorded):
    attempt = recorded("""
        from manta.light.errors import MantaError
        refused = []
        for ask in (
            lambda: self.local.get_dataset("other"),
            lambda: self.world.results.select("w", task="trian"),
            lambda: self.world.results.select("w", iteration=1),
            lambda: self.world.schedule_next_iter(["node-7"]),
        ):
            try:
                ask()
            except MantaError as error:
                refused.append(type(error).__name__)
        self.world.results.add("refused", refused)
        self.world.schedule_next_iter(["node-2"], "train")
        self.world.stop_swarm()
    """)
    attempt.result("node-1", 3)
    left, said = attempt.run()
    assert left["failure"] is None, said
    expected = ["DatasetNotAuthorized", "UnknownTarget", "MantaError", "UnknownTarget"]
    assert attempt.saved(left)["refused"] == expected
    assert left["next_iterations"] == [{"task": "train", "nodes": ["node-2"]}] and left["stop_swarm"]


def test_state_that_only_the_node_has_is_named(recorded):
    attempt = recorded("""
        seen = self.local.get_state("seen", 0)
        self.local.set_state("seen", seen + 1)
        self.world.results.add("seen", self.local.get_state("seen"))
    """)
    left, _ = attempt.run()
    assert left["state_read"] == ["seen"] and attempt.saved(left) == {"seen": 1}


def test_a_stand_in_is_what_the_task_opens(recorded, tmp_path):
    attempt = recorded("""
        self.world.results.add("rows", list(self.local.read_file_lines("rows")))
    """)
    attempt.datasets["rows"] = str(tmp_path / "rows.txt")
    (tmp_path / "rows.txt").write_text("one\ntwo\n")
    left, _ = attempt.run()
    assert attempt.saved(left) == {"rows": ["one", "two"]}


def test_the_debugger_stands_at_the_failure_and_the_replay_goes_on(recorded):
    attempt = recorded("""
        shapes = (3, 4)
        raise ValueError("shapes differ")
    """)
    attempt.options["pdb"] = True
    left, said = attempt.run("p shapes\nq\n")
    assert "(3, 4)" in said and left["failure"]["message"] == "ValueError: shapes differ"
    assert not left["abandoned"]


def test_the_debugger_stands_before_the_first_line_and_leaving_it_ends_the_replay(recorded):
    attempt = recorded("""
        first = 1
        self.world.results.add("first", first)
    """)
    attempt.options["break_first"] = attempt.options["pdb"] = True
    left, said = attempt.run("q\n")
    assert "first = 1" in said and left["abandoned"] and left["results"] == []
    left, _ = attempt.run("c\n")
    assert not left["abandoned"] and left["failure"] is None
