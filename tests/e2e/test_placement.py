"""Where tasks run, and by which rule they close."""

import pytest

from harness.api import of_kind

REFUSED = 4

ONE = """
    class One(Swarm):
        def __init__(self):
            super().__init__(max_iteration={max_iteration})
            self.ok = Task(Module("modules/{module}.py"{settings}), {options})
            {more}

        def execute(self):
            return {execute}
"""


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


def run(manta, options, *arguments, module="ok", settings="", more="", execute="self.ok()", max_iteration=None, code=0):
    """Run a swarm and return its document."""
    body = ONE.format(**{k: v for k, v in locals().items() if k not in ("manta", "arguments", "code")})
    ended = manta("run", manta.swarm(body), "--json", *arguments)
    assert ended.code == code, ended.text
    return ended.documents()[0]


def chosen(document, task=0):
    """Return the nodes of each task run of a task, iteration by iteration."""
    return [event["nodes"] for event in of_kind(document["events"], "task_run_started") if event["task"] == task]


def test_any_with_a_maximum_takes_that_many(manta):
    assert [len(nodes) for nodes in chosen(run(manta, 'method="any", maximum=2', "--nodes", 3))] == [2]


def test_a_share_is_of_the_eligible_nodes_and_at_least_one(manta):
    assert [len(nodes) for nodes in chosen(run(manta, 'method="random", maximum=0.5', "--nodes", 4))] == [2]
    assert [len(nodes) for nodes in chosen(run(manta, 'method="random", maximum=0.01', "--nodes", 2))] == [1]


def test_nodes_are_specified_and_excepted_by_name(manta):
    assert chosen(run(manta, 'specified_ids=["node-1", "node-3"]', "--nodes", 3)) == [["node-1", "node-3"]]
    assert chosen(run(manta, 'excepted_ids=["node-2"]', "--nodes", 3)) == [["node-1", "node-3"]]


def test_nodes_are_chosen_by_their_labels(manta):
    nodes = ["--node", "north:site=a", "--node", "south:site=b", "--node", "west:site=b"]
    assert chosen(run(manta, 'labels={"site": "b"}', *nodes)) == [["south", "west"]]


@pytest.mark.parametrize(
    "resources, parts",
    [
        ({"cpu": 4000}, ["node-1 has", "4000 cores are needed", "the most cores that a node has is"]),
        ({"memory": "64TiB"}, ["67108864 MiB of memory are needed", "the most memory that a node has is"]),
        ({"tmp": "64TiB"}, ["67108864 MiB of scratch are needed", "the most scratch that a node has is"]),
        ({"pids": 5_000_000}, ["pids is 5000000", "4194304"]),
        ({"gpu": 100}, ["100 GPUs are needed", "GPU"]),
        ({"gpu": 1, "gpu_memory": "64TiB"}, ["1 GPU of up to 67108864 MiB are needed", "GPU"]),
    ],
    ids=lambda value: next(reversed(value)) if isinstance(value, dict) else None,
)
def test_more_than_any_node_has_is_refused_at_submit_with_what_the_best_has(manta, resources, parts):
    body = ONE.format(
        module="ok", settings=f", resources={resources}", options="", more="", execute="self.ok()", max_iteration=None
    )
    ended = manta("run", manta.swarm(body), "--nodes", 2)
    assert ended.code == REFUSED, ended.text
    for part in parts:
        assert part in ended.err, f"{part!r} is not in:\n{ended.text}"


def test_shares_that_stand_side_by_side_divide_the_nodes(manta):
    more = 'self.new = Task(Module("modules/one_class.py"), method="random", maximum=0.2)'
    document = run(manta, 'method="random", maximum=0.8', "--nodes", 5, more=more, execute="[self.ok(), self.new()]")
    (stable,), (experimental,) = chosen(document, 0), chosen(document, 1)
    assert (len(stable), len(experimental)) == (4, 1)
    assert sorted(stable + experimental) == [f"node-{number}" for number in range(1, 6)]


def test_a_random_choice_that_is_fixed_stays(manta):
    document = run(manta, 'method="random", maximum=1, fixed=True', "--nodes", 4, max_iteration=4)
    choices = chosen(document)
    assert len(choices) == 4 and all(choice == choices[0] for choice in choices), choices


def test_a_dataset_decides_where_a_task_runs(manta, gate):
    data = ["--data", f"node-2:gate={gate}"]
    (gate / "open").touch()
    assert chosen(run(manta, 'method="all"', "--nodes", 3, *data, module="gate", settings=', datasets=["gate"]')) == [
        ["node-2"]
    ]


def test_a_tag_chooses_the_nodes_that_published_it(manta):
    more = 'self.collect = Task(Module("modules/collect.py"), method="tag-name")'
    document = run(manta, 'specified_ids=["node-2"]', "--nodes", 3, more=more, execute="self.collect(self.ok())")
    assert chosen(document, 1) == [["node-2"]]


def test_the_next_iteration_may_name_its_nodes(manta):
    manta.file(
        "modules/pick.py",
        """
        from manta.light.task import Task

        class Pick(Task):
            def run(self):
                if self.iteration == 0:
                    self.world.schedule_next_iter(node_ids=["node-3"], task_to_schedule_alias="ok")
        """,
    )
    more = 'self.pick = Task(Module("modules/pick.py"), method="any")'
    document = run(manta, 'method="all"', "--nodes", 3, more=more, execute="self.pick(self.ok())")
    assert chosen(document) == [["node-1", "node-2", "node-3"], ["node-3"]]


def test_a_next_iteration_of_a_task_that_is_not_there_names_the_nearest(manta):
    manta.file(
        "modules/pick.py",
        """
        from manta.light.task import Task

        class Pick(Task):
            def run(self):
                self.world.schedule_next_iter(node_ids=["node-1"], task_to_schedule_alias="okk")
        """,
    )
    more = 'self.pick = Task(Module("modules/pick.py"), method="any", retries=0)'
    document = run(manta, 'method="all"', "--nodes", 1, more=more, execute="self.pick(self.ok())", code=1)
    message = str(document["failures"])
    assert "okk" in message and "ok" in message and "pick.py" in message, message


def test_a_quorum_is_enough_at_the_deadline(manta, gate):
    manta.file(
        "modules/late.py",
        """
        import os, time
        from manta.light.task import Task

        class Late(Task):
            def run(self):
                while self.node == "node-3":
                    time.sleep(0.02)
                self.world.results.add("name", str(self.node))
        """,
    )
    more = 'self.collect = Task(Module("modules/collect.py"), method="any")'
    document = run(
        manta, "quorum=2, deadline=3", "--nodes", 3, module="late", more=more, execute="self.collect(self.ok())"
    )
    reasons = [event["reason"] for event in of_kind(document["events"], "task_run_closed")]
    assert "2/3" in reasons[0] and "deadline" in reasons[0], reasons
    assert {entry["name"]: entry["summary"] for entry in document["globals"]} == {"collected": '["node-1", "node-2"]'}


def test_continuing_after_a_failure_uses_all_that_succeeds(manta, gate):
    manta.file(
        "modules/half.py",
        """
        import os, time
        from manta.light.task import Task

        class Half(Task):
            def run(self):
                if self.node == "node-2":
                    raise RuntimeError("not on this node")
                opened = self.local.get_dataset("gate").path / "open"
                while not os.path.exists(opened):
                    time.sleep(0.02)
                self.world.results.add("name", str(self.node))
        """,
    )
    body = """
        class Partly(Swarm):
            def __init__(self):
                super().__init__()
                self.half = Task(Module("modules/half.py", datasets=["gate"]), retries=0, on_failure="continue")
                self.collect = Task(Module("modules/collect.py"), method="any")

            def execute(self):
                return self.collect(self.half())
    """
    command = manta.start("run", manta.swarm(body), "--nodes", 2, "--data", f"gate={gate}")
    command.wait_for("not on this node")
    (gate / "open").touch()
    ended = command.end()
    assert ended.code == 0 and "collected node-1 in iteration 0" in ended.text, ended.text
