"""What a task sees and does, as the task itself tells it."""

import pytest

from manta.apis import Module, Swarm, Task
from manta.testing import load_module, run_task
from spec.place import MODULES


def module(path, **options):
    """Return one of the suite's modules."""
    return Module(MODULES / path, **options)


class Shown(Swarm):
    """One task that tells all."""

    def __init__(self):
        datasets = ["mnist", "table", "folder"]
        resources = {"cpu": 1, "memory": "512MiB", "tmp": "64MiB"}
        self.example = Task(module("shown.py", datasets=datasets, resources=resources), labels={"region": "south"})
        self.set_global("training_config", {"algorithm": "fedprox", "mu": 0.25})


@pytest.fixture(scope="module")
def shown(platform):
    """Run it once, and return the outcome and what the task told."""
    outcome = platform.run(Shown())
    return outcome, outcome.values("told")["node-3"]


@pytest.mark.claim(35)
def test_a_dataset_has_the_form_of_its_files(shown):
    told = shown[1]
    assert told["shape"] == (5, 8, 8) and told["shapes"] == {"x": (5, 8, 8), "y": (5,)}
    assert told["rows"] == (2, 2) and told["lines"] == ["age,height"] and told["files"] == ["a.txt", "b.txt"]


@pytest.mark.claim(36, 37)
def test_resources_are_what_this_attempt_may_use(shown):
    assert shown[1]["resources"] == [1.0, 512 << 20, False, 0, 0, 64 << 20]


@pytest.mark.claim(39)
def test_performance_is_told_in_shares(shown):
    performance = shown[1]["performance"]
    assert all(0 <= performance[name] <= 1 for name in ("cpu_usage", "memory_usage", "gpu_usage"))
    assert performance["memory_usage"] > 0 and performance["load"] >= 0


@pytest.mark.claim(40)
def test_the_quality_of_the_connection_is_measured(shown):
    assert 0 < shown[1]["quality"] <= 1


@pytest.mark.claim(41, 42, 43, 48)
def test_globals_are_read_written_and_may_be_absent(shown):
    outcome, told = shown
    assert told["absent"] == "average" and told["has"] == [True, False]
    assert told["own_write"] == outcome.globals["seen_by_task"] == 0.5
    assert told["keys"] == ["seen_by_task", "training_config"]


@pytest.mark.claim(30, 31, 32)
def test_a_task_knows_who_it_is_without_calling_its_base(shown):
    outcome, told = shown
    node, labels, iteration, attempt, seed = told["who"]
    assert (node, labels, iteration, attempt) == ("node-3", {"region": "south"}, 0, 0) and seed >= 0
    assert told["ids"][0] == outcome.status.id and told["bound"] == [True, True, "without super().__init__()"]


@pytest.mark.claim(33, 34)
def test_every_level_reaches_the_manager(shown):
    lines = {line["text"]: line for line in shown[0].logs}
    levels = {"Dataset shape: (5, 8, 8)": "debug", "Starting computation": "info"}
    levels |= {"A warning": "warning", "An error": "error"}
    assert {text: lines[text]["level"] for text in levels} == levels
    assert all(lines[text]["node"] == "node-3" and lines[text]["iteration"] == 0 for text in levels)
    assert "printed" in lines
    data = {line["source"]: line["data"] for line in shown[0].logs if line.get("data")}
    assert data["metrics"] == {"values": {"loss": 0.5}, "step": 3} and data["progress"] == {"done": 1, "total": 2}


class Robust(Swarm):
    """A task that names what went wrong, and one behind it."""

    def __init__(self, kind):
        self.robust = Task(module("robust.py", datasets=["broken"]), method="any", retries=0, on_failure="continue")
        self.status = Task(module("status.py"), method="any")
        self.set_global("kind", kind)

    def execute(self):
        return self.status(self.robust())


@pytest.mark.claim(47)
@pytest.mark.parametrize(("kind", "status"), [("corrupt", "failed_data_corruption"), ("exhausted", "failed_resources")])
def test_an_expected_failure_is_a_result_like_any_other(platform, kind, status):
    class Alone(Robust):
        def execute(self):
            return self.robust()

    outcome = platform.run(Alone(kind))
    assert outcome.results["status"] == {0: {outcome.results[0].node: status}}


@pytest.mark.claim(47, 65)
def test_what_was_published_before_a_raise_counts_for_no_task(platform):
    outcome = platform.run(Robust("unknown"), "succeeded", "failed")
    (kept,) = outcome.results.select("status", accepted=False)
    assert kept.value == "failed_unknown" and not kept.accepted
    assert not outcome.results.select("status"), "nothing of it counts"
    assert any("the weights diverged" in line["text"] for line in outcome.logs)


class Stateful(Swarm):
    """A momentum that is kept on the node."""

    def __init__(self):
        super().__init__(max_iteration=3)
        self.optimizer = Task(module("optimizer.py"), specified_ids=["node-2"])


@pytest.mark.claim(38)
def test_state_survives_iterations_and_a_failed_attempt_changes_none(platform):
    outcome = platform.run(Stateful())
    assert outcome.results["steps_before"] == {0: {"node-2": 0}, 1: {"node-2": 1}, 2: {"node-2": 2}}
    again = platform.run(Stateful())
    assert again.results["steps_before"][0] == {"node-2": 0}, "another swarm does not see it"


class Moved(Swarm):
    """A task whose next iteration is asked for on another node."""

    def __init__(self):
        self.moved = Task(module("moved.py"), method="any", maximum=1)


@pytest.mark.claim(38)
def test_a_task_that_moved_sees_the_default_and_is_told_where_its_state_is(platform):
    outcome = platform.run(Moved())
    before = outcome.results["before"]
    (first,), (second,) = before[0], before[1]
    assert first != second and set(before[0].values()) | set(before[1].values()) == {"nothing"}
    told = [line for line in outcome.logs if f"StateLeftBehind({first})" in line["text"]]
    assert [(line["node"], line["level"]) for line in told] == [(second, "warning")], outcome.logs
    why = platform.api.why(outcome.status, "moved", 1)
    assert [note for note in why["notes"] if note.startswith(f"{second}: StateLeftBehind({first})")], why
    asked = platform.ask("why", f"{outcome.status.id}/moved", "--iteration", "1")
    assert asked.code == 0 and f"StateLeftBehind({first})" in asked.out, asked.text


class Quarrel(Swarm):
    """Nodes that disagree about a global."""

    def __init__(self):
        self.quarrel = Task(module("quarrel.py"))


@pytest.mark.claim(42)
def test_writes_that_disagree_are_applied_in_the_order_of_names_and_told(platform):
    outcome = platform.run(Quarrel())
    assert outcome.globals == {"last": "node-3"}
    told = " ".join(event["message"] for event in outcome.events)
    assert "GlobalConflict: global `last`: node-1, node-2, node-3" in told


class Adaptive(Swarm):
    """A worker that looks at its node first."""

    def __init__(self):
        self.worker = Task(module("adaptive.py"))


@pytest.mark.claim(36, 37, 39, 40)
def test_a_worker_adapts_to_its_node(platform):
    for quality, cpu_usage, strategy, device, fits in platform.run(Adaptive()).values("chosen").values():
        wanted = "local rounds" if quality < 0.5 else "lightweight" if cpu_usage > 0.8 else "standard"
        assert (strategy, device, fits) == (wanted, "cpu", True)


class Asserting(Swarm):
    """A task with assertions."""

    def __init__(self, size):
        self.testable = Task(module("testable.py"), method="any", retries=0)
        self.set_global("size", size)


@pytest.mark.claim(50)
def test_an_assertion_is_the_tasks_failure(platform):
    assert platform.run(Asserting(3)).values("output").popitem()[1] == [0, 0, 0]
    outcome = platform.run(Asserting(20), "failed")
    assert "Invalid output data" in outcome.status.reason or any(
        "Invalid output data" in line["text"] for line in outcome.logs
    )


@pytest.mark.claim(50, 57)
def test_a_module_is_tested_without_a_platform():
    task = load_module(MODULES / "testable.py").TestableTask
    outcome = run_task(task, globals={"size": 2})
    assert outcome.results == {"output": [0, 0]} and outcome.logs[0].message == "Starting computation"
    with pytest.raises(AssertionError, match="Invalid input data"):
        run_task(task, globals={"size": 0})
