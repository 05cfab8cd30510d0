"""Hold a swarm, let it go on, retry it, drain or revoke a node: each verb does what it says and says what it did."""

import pytest

from harness.api import assert_accepted_once, of_kind
from harness.cluster import Cluster
from harness.waiting import wait_until

NOT_FOUND = 3
CONFLICT = 8

WAITS = """
    class Waits(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.gate())
"""

FAILS = """
    class Fails(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))
            self.crash = Task(Module("modules/crash.py"), retries=0)

        def execute(self):
            return self.crash(self.ok())
"""


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


def test_a_paused_swarm_waits_until_it_is_resumed(manta, gate):
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(WAITS), "--priority", "5", "--attempts-max", "3")
    cluster.wait_for_log(swarm, "at the gate", ["node-1"])
    assert manta("pause", swarm, environment=cluster.as_user).code == 0
    (gate / "open").touch()

    def closed():
        runs = cluster.api.swarm(swarm)["task_runs"]
        return None if runs[0]["accepted"] == 1 else f"the gate is open: {runs}"

    wait_until(20, closed)
    view = cluster.api.swarm(swarm)
    assert (view["state"], view["priority"], view["attempts_max"]) == ("paused", 5, 3), view
    assert "manta resume" in manta("why", swarm, environment=cluster.as_user).out
    assert manta("resume", swarm, environment=cluster.as_user).code == 0
    cluster.wait_for(swarm, "succeeded")
    assert_accepted_once(cluster.api.events(swarm))
    assert manta("pause", swarm, environment=cluster.as_user).code == CONFLICT


def test_a_failed_swarm_is_retried_from_the_task_that_failed(manta):
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(FAILS))
    cluster.wait_for(swarm, "failed")
    ended = manta("retry", swarm, environment=cluster.as_user)
    assert ended.code == 0, ended.text
    again = ended.out.strip()
    cluster.wait_for(again, "failed")
    events = cluster.api.events(again)
    assert [event["from"] for event in (e["checkpoint"] for e in of_kind(events, "swarm_continued"))] == [swarm]
    assert {event["task"] for event in of_kind(events, "attempt_offered")} == {1}, "what was done is not done again"


def test_a_drained_node_gets_nothing_until_it_is_resumed(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    ended = manta("node", "drain", "node-1", "--deadline", "10m", environment=cluster.as_user)
    assert ended.code == 0 and "drained" in ended.err, ended.text
    swarm = cluster.deploy(manta.swarm(FAILS))
    cluster.wait_for(swarm, "failed")
    assert {event["node"] for event in of_kind(cluster.api.events(swarm), "attempt_offered")} == {"node-2"}
    assert "drained" in manta("node", "ls", environment=cluster.as_user).out
    ended = manta("node", "resume", "node-1", "--json", environment=cluster.as_user)
    assert ended.documents()[0]["node"]["duty"] == "active", ended.text


def test_attempts_of_a_cordoned_node_go_on_and_those_of_a_revoked_one_are_said_to_be_left_out(manta, gate):
    cluster = Cluster(manta).start("node-1", "node-2", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(WAITS))
    cluster.wait_for_log(swarm, "at the gate", ["node-1", "node-2"])
    cordoned = manta("node", "cordon", "node-1", environment=cluster.as_user)
    assert "node-1 takes no new attempts; 1 that runs there goes on" in cordoned.err, cordoned.text
    assert manta("node", "resume", "node-1", environment=cluster.as_user).code == 0
    revoked = manta("node", "revoke", "node-2", environment=cluster.as_user)
    assert "node-2 is revoked; 1 attempt that ran there counts no more" in revoked.err, revoked.text

    def told():
        shown = manta("show", swarm, environment=cluster.as_user)
        return None if "runs on 1 of 2 nodes; node-2 excused: revoked" in shown.out else shown.text

    wait_until(20, told)
    (gate / "open").touch()
    cluster.wait_for(swarm, "succeeded")
    (why,) = manta("why", swarm, "--json", environment=cluster.as_user).documents()
    (short,) = why["short_runs"]
    assert (short["task"], short["iteration"], short["missing"]) == ("gate", 0, 1), short
    assert [(node["node"], node["cause"]) for node in short["nodes"]] == [("node-2", "revoked")], short
    assert why["short_runs_earlier"] == 0 and "left nodes out" in why["reason"], why


def test_a_revoked_node_gets_nothing_ever_again(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    ended = manta("node", "revoke", "node-1", "--json", environment=cluster.as_user)
    assert ended.documents()[0]["node"]["duty"] == "revoked", ended.text
    again = manta("node", "revoke", "node-1", environment=cluster.as_user)
    assert again.code == 0 and "revoked" in again.err, again.text
    ended = manta("node", "resume", "node-1", environment=cluster.as_user)
    assert ended.code == CONFLICT and "is revoked, and stays so" in ended.err, ended.text
    turned_away = cluster.nodes["node-1"].end(20)
    assert turned_away.code == CONFLICT, turned_away.text
    assert "node `node-1` was revoked, and stays so" in turned_away.err and "another name" in turned_away.err
    assert "another --name and another --data-dir" in turned_away.err, turned_away.text
    swarm = cluster.deploy(manta.swarm(FAILS))
    cluster.wait_for(swarm, "failed")
    assert {event["node"] for event in of_kind(cluster.api.events(swarm), "attempt_offered")} == {"node-2"}
    cluster.kill_manager()
    cluster.start_manager()
    cluster.start_node("node-1")
    again = cluster.nodes["node-1"].end(20)
    assert again.code == CONFLICT and "was revoked, and stays so" in again.err, "after a restart of both"
    unknown = manta("node", "revoke", "node-3", environment=cluster.as_user)
    assert unknown.code == NOT_FOUND and "node-3" in unknown.err, unknown.text
