"""What is killed without a warning in the middle of its work costs an attempt, never a result and never the swarm."""

import signal

import pytest

from harness.api import assert_accepted_once, of_kind
from harness.cluster import Cluster
from harness.processes import descendants, kill
from harness.waiting import wait_until

GATED = """
    class Gated(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.gate())
"""

NODES = ("node-1", "node-2", "node-3")


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


@pytest.fixture
def gated(manta, gate):
    """A cluster of three nodes whose swarm stands at the gate on all of them."""
    cluster = Cluster(manta).start(*NODES, datasets={"gate": gate})
    cluster.swarm = cluster.deploy(manta.swarm(GATED))
    cluster.wait_for_log(cluster.swarm, "at the gate", NODES)
    return cluster


def test_an_embedded_agent_that_is_killed_is_restarted_and_the_iteration_completes(manta, gate):
    command = manta.start("run", manta.swarm(GATED), "--nodes", 2, "--data", f"gate={gate}")
    command.wait_for("at the gate on node-", times=2)
    below = descendants(command.pid)
    agents = [process for process in below if "node-2" in process.command]
    assert agents, [str(process) for process in below]
    victim = min(agents, key=lambda process: process.started)
    kill(victim)
    command.wait_for("at the gate on node-2", times=2)
    (gate / "open").touch()
    ended = command.end()
    assert ended.code == 0, ended.text
    assert "collected node-1,node-2 in iteration 0" in ended.text


def test_a_killed_task_is_tried_again(manta, gate):
    cold = {"MANTA_WARM": "off"}  # so that a task is known by its command
    command = manta.start("run", manta.swarm(GATED), "--nodes", 1, "--data", f"gate={gate}", environment=cold)
    command.wait_for("at the gate on node-1")
    tasks = [process for process in descendants(command.pid) if "boot.py" in process.command]
    assert tasks, [str(process) for process in descendants(command.pid)]
    for task in tasks:
        kill(task)
    command.wait_for("at the gate on node-1", times=2)
    (gate / "open").touch()
    assert command.end().code == 0


def test_a_lost_node_is_excused_and_the_swarm_goes_on(gated, gate, manta):
    gated.kill_node("node-2")
    (gate / "open").touch()
    gated.wait_for(gated.swarm, "succeeded", limit_s=90)
    events = gated.api.events(gated.swarm)
    assert [event["node"] for event in of_kind(events, "node_excused")] == ["node-2"]
    reasons = [event["reason"] for event in of_kind(events, "task_run_closed")]
    assert "2/3" in reasons[0] and "node-2" in reasons[0], reasons
    assert "1 task run left nodes out" in manta("show", gated.swarm, environment=gated.as_user).out
    why = manta("why", gated.swarm, environment=gated.as_user)
    assert "\n  iteration 0, task `gate`: without node-2: lost " in why.out, why.text
    assert gated.api.globals(gated.swarm)["collected"] == ["node-1", "node-3"]
    assert_accepted_once(events)


def test_a_killed_agent_that_is_started_again_takes_up_its_work(gated, gate, manta):
    gated.kill_node("node-2")
    gated.start_node("node-2", {"gate": gate})
    gated.wait_for_nodes("node-2")
    (gate / "open").touch()
    gated.wait_for(gated.swarm, "succeeded", limit_s=90)
    assert gated.api.globals(gated.swarm)["collected"] == list(NODES)
    assert_accepted_once(gated.api.events(gated.swarm))


def test_a_killed_manager_goes_on_where_it_was(gated, gate):
    url = gated.url
    gated.kill_manager()
    (gate / "open").touch()
    gated.start_manager(listen=url.removeprefix("http://"))
    gated.wait_for(gated.swarm, "succeeded", limit_s=90)
    assert gated.api.globals(gated.swarm)["collected"] == list(NODES)
    events = gated.api.events(gated.swarm)
    assert_accepted_once(events)
    assert len(of_kind(events, "attempt_accepted")) == len(NODES) + 1


def test_a_manager_that_is_killed_again_and_again_accepts_nothing_twice(manta, gate):
    cluster = Cluster(manta).start(*NODES, datasets={"gate": gate})
    (gate / "open").touch()
    body = GATED.replace("super().__init__()", "super().__init__(max_iteration=20)")
    swarm = cluster.deploy(manta.swarm(body))
    listen = cluster.url.removeprefix("http://")
    for iteration in (2, 8, 14):

        def look(wanted=iteration):
            view = cluster.api.swarm(swarm)
            reached = (view["iteration"] or 0) >= wanted or view["finished_ms"]
            return None if reached else f"iteration {view['iteration']}"

        wait_until(60, look)
        cluster.kill_manager()
        cluster.start_manager(listen=listen)
    cluster.wait_for(swarm, "succeeded", limit_s=90)
    events = cluster.api.events(swarm)
    assert_accepted_once(events)
    assert len(of_kind(events, "attempt_accepted")) == 20 * (len(NODES) + 1)


def test_a_node_that_was_only_cut_off_delivers_what_it_finished(gated, gate):
    stopped = gated.nodes["node-3"]
    stopped.signal(signal.SIGSTOP)

    def look():
        state = gated.api.nodes()["node-3"]["state"]
        return None if state == "unreachable" else f"node-3 is {state}"

    try:
        wait_until(30, look)
    finally:
        stopped.signal(signal.SIGCONT)
    (gate / "open").touch()
    gated.wait_for(gated.swarm, "succeeded", limit_s=90)
    assert gated.api.globals(gated.swarm)["collected"] == list(NODES)
    events = gated.api.events(gated.swarm)
    assert of_kind(events, "node_excused") == []
    assert_accepted_once(events)
