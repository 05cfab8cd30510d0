"""A manager and nodes as processes of their own, and the commands that speak to them."""

import pytest

from harness.api import assert_accepted_once, of_kind
from harness.cluster import Cluster

NOT_FOUND = 3

CHAIN = """
    class Chain(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("shown", 1)
            self.ok = Task(Module("modules/ok.py"))
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.ok())
"""

WAITS = """
    class Waits(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


def test_a_deployed_swarm_is_listed_shown_and_read(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    swarm = cluster.deploy(manta.swarm(CHAIN), "--set", "shown=2")
    cluster.wait_for(swarm, "succeeded")

    def ask(*arguments):
        ended = manta(*arguments, "--json", environment=cluster.as_user)
        assert ended.code == 0, ended.text
        return ended.documents()

    assert swarm in str(ask("ls"))
    assert "succeeded" in str(ask("show", swarm))
    assert "collected node-1,node-2 in iteration 0" in str(ask("logs", swarm))
    assert "node-1" in str(ask("results", swarm))
    assert "node-2" in str(ask("node", "ls"))
    assert cluster.api.globals(swarm) == {"shown": 2, "collected": ["node-1", "node-2"]}
    assert_accepted_once(cluster.api.events(swarm))


def test_every_line_tells_who_wrote_it_and_how_serious_it_is(manta):
    cluster = Cluster(manta).start("node-1")
    body = CHAIN.replace("ok.py", "levels.py").replace("return self.collect(self.ok())", "return self.ok()")
    swarm = cluster.deploy(manta.swarm(body))
    cluster.wait_for(swarm, "succeeded")
    lines = {line["text"]: line for line in cluster.api.logs(swarm)}
    expected = {
        "a debug line": ("debug", "log"),
        "an info line": ("info", "log"),
        "a warning line": ("warning", "log"),
        "an error line": ("error", "log"),
        "a printed line": ("info", "stdout"),
        "a line on standard error": ("error", "stderr"),
    }
    (attempt,) = of_kind(cluster.api.events(swarm), "attempt_accepted")
    for text, (level, source) in expected.items():
        line = lines[text]
        assert (line["level"], line["source"]) == (level, source), line
        assert (line["node"], line["task"], line["iteration"]) == ("node-1", "levels", 0), line
        assert line["attempt"] == attempt["attempt"] and line["time_ms"] > 0, line


def test_what_a_failed_attempt_published_is_kept_for_people(manta):
    cluster = Cluster(manta).start("node-1")
    body = CHAIN.replace('Module("modules/ok.py")', 'Module("modules/crash.py"), retries=0')
    swarm = cluster.deploy(manta.swarm(body))
    cluster.wait_for(swarm, "failed")
    (result,) = cluster.api.results(swarm)
    assert (result["name"], result["accepted"]) == ("status", False), result
    assert cluster.api.value(result["blob"]) == "failed_unknown"
    ended = manta("show", swarm, environment=cluster.as_user)
    assert "the shapes differ" in ended.text, ended.text


def test_logs_are_followed_to_the_end(manta, gate):
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(WAITS))
    following = manta.start("logs", swarm, "-f", environment=cluster.as_user)
    following.wait_for("at the gate on node-1")
    (gate / "open").touch()
    assert following.end(30).code == 0


def test_a_stopped_swarm_stays_stopped(manta, gate):
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(WAITS))
    cluster.wait_for_log(swarm, "at the gate", ["node-1"])
    ended = manta("stop", swarm, "--json", environment=cluster.as_user)
    assert ended.code == 0, ended.text
    cluster.wait_for(swarm, "stopped")
    (gate / "open").touch()
    assert_accepted_once(cluster.api.events(swarm))
    assert cluster.api.results(swarm) == []


def test_a_swarm_that_is_not_there_has_its_own_exit_code(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    for verb in ("show", "logs", "results", "stop"):
        ended = manta(verb, "sw_00000000000000000000000000", environment=cluster.as_user)
        assert ended.code == NOT_FOUND, f"{verb}: {ended.text}"


def test_a_dataset_that_no_node_has_is_refused_at_submit_with_those_that_each_has(manta, gate):
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.start_node("node-1", {"digits": gate})
    cluster.start_node("node-2", {"mnist": gate})
    cluster.wait_for_nodes("node-1", "node-2")
    ended = manta("deploy", manta.swarm(WAITS), environment=cluster.as_user)
    assert ended.code == 4, ended.text
    for part in ("gate", "node-1", "digits", "node-2", "mnist"):
        assert part in ended.err, f"{part!r} is not in:\n{ended.err}"
    assert cluster.api.swarms() == []


def test_a_swarm_waits_for_a_node_with_a_reason(manta, gate):
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(WAITS))
    cluster.wait_for_log(swarm, "at the gate", ["node-1"])
    view = cluster.api.swarm(swarm)
    assert view["state"] == "running" and view["reason"], view
    assert view["task_runs"][0]["reason"], view
    manta("stop", swarm, environment=cluster.as_user)


def test_two_nodes_of_one_name_are_refused(manta, gate):
    cluster = Cluster(manta).start("node-1")
    arguments = ["--manager", cluster.url, "--token-file", cluster.data_dir / "node-token", "--name", "node-1"]
    ended = manta("node", "run", *arguments, "--data-dir", manta.root / "n2")
    assert ended.code == 8, ended.text
    assert "node-1" in ended.err


def test_a_node_that_stops_in_the_orderly_way_is_gone_at_once(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    cluster.nodes.pop("node-2").stop()
    assert cluster.api.nodes()["node-2"]["state"] != "online"
