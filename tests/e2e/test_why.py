"""What waits, failed or is over says why, per node, and what would change it; a history shows each of its states."""

from harness.cluster import Cluster
from harness.waiting import wait_until

NOT_FOUND = 3

CRASHES = """
    class Crashes(Swarm):
        def __init__(self):
            super().__init__()
            self.crash = Task(Module("modules/crash.py"), retries=0)
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.crash())
"""

WAITS = """
    class Waits(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


def ask(manta, cluster, *arguments, code=0):
    """Run a command against the cluster and return what it printed as data."""
    ended = manta(*arguments, environment=cluster.as_user)
    assert ended.code == code, ended.text
    return ended.out


def document(manta, cluster, *arguments):
    """Run a command with --json and return its one document."""
    ended = manta(*arguments, "--json", environment=cluster.as_user)
    assert ended.code == 0, ended.text
    (found,) = ended.documents()
    return found


def test_a_failed_swarm_says_what_closed_it_from_swarm_to_attempt(manta):
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(CRASHES))
    cluster.wait_for(swarm, "failed")
    told = ask(manta, cluster, "why", swarm)
    for part in ("failed", "crash", "node-1", "the shapes differ", "because:", "node-1: report", "manta retry"):
        assert part in told, f"{part!r} is not in:\n{told}"
    why = document(manta, cluster, "why", swarm)
    assert why["schema_version"] == 1 and why["text"].strip() == told.strip()
    task = document(manta, cluster, "why", f"{swarm}/crash")
    assert task["state"] == "failed" and task["nodes"][0]["node"] == "node-1", task
    attempt = document(manta, cluster, "why", task["attempts"][0]["attempt"])
    assert attempt["failure"]["class"] == "user_error" and "crash.py" in attempt["failure"]["location"], attempt
    skipped = document(manta, cluster, "why", swarm, "collect")
    assert "the swarm is over" in skipped["reason"], skipped


def test_a_swarm_whose_node_is_gone_says_what_would_change_it(manta):
    gate = manta.work / "gate"
    gate.mkdir()
    cluster = Cluster(manta).start("node-1", "node-2", datasets={"gate": gate})
    for node in ("node-1", "node-2"):
        cluster.nodes.pop(node).stop()
    swarm = cluster.deploy(manta.swarm(WAITS))

    def look():
        told = ask(manta, cluster, "why", swarm)
        wanted = ("node-1 comes back", "another node offers dataset `gate`", "has not been heard")
        lacking = [part for part in wanted if part not in told]
        return f"{lacking} not in:\n{told}" if lacking else None

    wait_until(20, look)
    ask(manta, cluster, "stop", swarm)


def test_events_and_states_of_the_past_are_one_history(manta):
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(CRASHES))
    cluster.wait_for(swarm, "failed")
    told = ask(manta, cluster, "events", swarm).splitlines()
    events = cluster.api.events(swarm)
    assert len(told) == len(events) + 1, "a line for each event below the heads"
    assert "submit by a user" in told[1] and "failed" in told[-1], told
    states = [document(manta, cluster, "show", swarm, "--at", str(event["seq"]))["swarm"]["state"] for event in events]
    assert states[0] == "pending" and states[-1] == "failed" and "running" in states, states
    ended = manta("show", swarm, "--at", str(len(events) + 1), environment=cluster.as_user)
    assert ended.code == NOT_FOUND and "manta events" in ended.err, ended.text
