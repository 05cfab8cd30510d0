"""A node's life: what is known of it, labels, datasets while it runs, and its end."""

import json
import os
import socket

import pytest

from harness.cluster import Cluster
from harness.waiting import wait_until

SEES = """
    class Sees(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""
LABELLED = """
    class Labelled(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"), labels={"rack": "seven"})

        def execute(self):
            return self.ok()
"""


@pytest.fixture
def cluster(manta):
    """Return a manager and nodes that are yet to start."""
    return Cluster(manta)


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


def shown(cluster, manta, name):
    ended = manta("node", "show", name, "--json", environment=cluster.as_user)
    assert ended.code == 0, ended.text
    return ended.documents()[0]["node"]


def data(manta, node, *arguments):
    return manta("node", "data", *arguments, "--data-dir", manta.root / f"n-{node}")


def test_all_that_is_known_of_a_node_is_shown_and_none_of_its_values(cluster, manta):
    table = manta.work / "patients.csv"
    table.write_text("age,weight,name\n41,70.5,Eve Canary\n42,80,Ada Canary\n")
    cluster.start_manager()
    cluster.start_node("n", {"patients": table}, {"site": "here"})
    cluster.wait_for_nodes("n")
    node = shown(cluster, manta, "n")
    (dataset,) = node["datasets"]
    assert (dataset["name"], dataset["form"], dataset["size"]) == ("patients", "file", table.stat().st_size)
    columns = [(column["name"], column["dtype"]) for column in dataset["schema"]["columns"]]
    assert columns == [("age", "int"), ("weight", "float"), ("name", "text")]
    assert (dataset["schema"]["format"], dataset["schema"]["rows"]) == ("csv", 2)
    assert node["own_labels"] == {"site": "here"} and node["protocol"] >= 1 and node["cpu_count"] > 0
    assert node["agent_version"] and node["python_version"] and "latest" in node["images"]
    assert any("it connected" in event["message"] for event in node["events"]), node["events"]

    def quality():
        told = shown(cluster, manta, "n")["link_quality"]
        return None if told is not None and 0 < told <= 1 else f"the link's quality is {told}"

    wait_until(30, quality)
    text = manta("node", "show", "n", environment=cluster.as_user)
    assert text.code == 0 and "age int, weight float, name text" in text.out, text.text
    assert "Canary" not in text.out + json.dumps(node), "values stay where they are"
    missing = manta("node", "show", "nn", environment=cluster.as_user)
    assert missing.code == 3 and "did you mean `n`?" in missing.err, missing.text


def test_labels_that_people_give_place_tasks_and_the_sites_own_stay(cluster, manta):
    cluster.start_manager()
    cluster.start_node("a", labels={"site": "here"})
    cluster.start_node("b")
    cluster.wait_for_nodes("a", "b")
    env = cluster.as_user
    given = manta("node", "label", "b", "rack=seven", "row=2", environment=env)
    assert given.code == 0 and "rack=seven" in given.err, given.text
    swarm = cluster.deploy(manta.swarm(LABELLED))
    cluster.wait_for(swarm, "succeeded")
    assert {event.get("node_name") for event in cluster.api.events(swarm)} - {None} == {"b"}
    own = manta("node", "label", "a", "site=there", environment=env)
    assert own.code == 8 and "gives itself the label `site`" in own.err, own.text
    cluster.kill_manager()
    cluster.start_manager(listen=cluster.url.removeprefix("http://"))
    cluster.wait_for_nodes("a", "b")
    assert cluster.api.nodes()["b"]["labels"] == {"rack": "seven", "row": "2"}
    assert manta("node", "label", "b", "rack-", environment=env).code == 0
    assert cluster.api.nodes()["b"]["labels"] == {"row": "2"}
    for bad, words in (("rack", "neither"), ("=x", "not KEY=VALUE")):
        refused = manta("node", "label", "b", bad, environment=env)
        assert refused.code == 2 and words in refused.err, refused.text


def test_a_dataset_comes_and_goes_while_the_agent_runs_and_an_attempt_keeps_what_it_has(cluster, manta, gate):
    cluster.start("n")
    offered = data(manta, "n", "add", f"gate={gate}", "--json")
    assert offered.code == 0, offered.text
    assert [one["name"] for one in offered.documents()[0]["datasets"]] == ["gate"]
    twice = data(manta, "n", "add", f"gate={manta.work}")
    assert twice.code == 8 and "offered already" in twice.err, twice.text
    nowhere = data(manta, "n", "add", "x=/nowhere/at/all")
    assert nowhere.code != 0 and "there is nothing at that path" in nowhere.err, nowhere.text
    swarm = cluster.deploy(manta.swarm(SEES))

    def is_running():
        running = shown(cluster, manta, "n")["running"]
        return None if [one["state"] for one in running] == ["running"] else f"what runs: {running}"

    wait_until(30, is_running)
    removed = data(manta, "n", "rm", "gate")
    assert removed.code == 0 and "keep it until they end" in removed.err, removed.text
    wait_until(10, lambda: f"{cluster.api.nodes()['n']}" if cluster.api.nodes()["n"]["datasets"] else None)
    (gate / "open").touch()
    cluster.wait_for(swarm, "succeeded")
    refused = manta("deploy", manta.swarm(SEES), environment=cluster.as_user)
    assert refused.code == 4 and "needs dataset `gate`, which no node offers" in refused.err, refused.text
    assert data(manta, "n", "rm", "gate").code == 3

    assert data(manta, "n", "add", f"gate={gate}").code == 0
    cluster.kill_node("n")
    cluster.start_node("n")
    wait_until(30, lambda: None if cluster.api.nodes()["n"]["datasets"] == ["gate"] else f"{cluster.api.nodes()}")
    text = manta("node", "audit", "--data-dir", manta.root / "n-n", "--dataset", "gate")
    assert text.code == 0 and "is offered no more" in text.out and "ran at_" in text.out, text.text


def test_nobody_is_asked_where_no_agent_runs(manta):
    asked = manta("node", "data", "ls", "--data-dir", manta.work)
    assert asked.code == 3 and "no agent runs with it" in asked.err, asked.text


def test_a_node_is_cordoned_and_only_one_that_is_away_is_removed(cluster, manta):
    cluster.start("a", "b")
    env = cluster.as_user
    cordoned = manta("node", "cordon", "a", environment=env)
    assert cordoned.code == 0 and "takes no new attempts; nothing runs there" in cordoned.err, cordoned.text
    wait_until(10, lambda: None if cluster.api.nodes()["a"]["duty"] != "active" else "it is still active")
    assert manta("node", "resume", "a", environment=env).code == 0
    refused = manta("node", "rm", "a", environment=env)
    assert refused.code == 8 and "only a node that is gone or revoked" in refused.err, refused.text
    cluster.nodes["a"].signal(15)
    wait_until(20, lambda: None if cluster.api.nodes()["a"]["state"] == "gone" else f"{cluster.api.nodes()['a']}")
    assert manta("node", "rm", "a", environment=env).code == 0
    assert manta("node", "revoke", "b", environment=env).code == 0
    assert manta("node", "rm", "b", environment=env).code == 0
    assert cluster.api.nodes() == {}
    assert "was revoked" in cluster.nodes["b"].end().err
    assert cluster.nodes["a"].end().code == 0
    cluster.kill_manager()
    cluster.start_manager(listen=cluster.url.removeprefix("http://"))
    assert cluster.api.nodes() == {}
    cluster.start_node("a")
    cluster.wait_for_nodes("a")
    cluster.start_node("b")
    ended = cluster.nodes["b"].end()
    assert ended.code != 0 and "was revoked" in ended.err, ended.text


def test_a_service_manager_hears_that_a_manager_serves_lives_and_ends(cluster, manta):
    # In no file system: the path of a test's directory may be longer than a socket's name may be.
    name = f"manta-test-{os.getpid()}"
    told = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "200000"}
    start, manta.start = manta.start, lambda *arguments: start(*arguments, environment=told)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        heard.settimeout(30)
        cluster.start_manager()
        assert [heard.recv(64), heard.recv(64)] == [b"READY=1", b"WATCHDOG=1"]
        cluster.manager.signal(15)
        last = next(word for word in iter(lambda: heard.recv(64), b"") if word != b"WATCHDOG=1")
        assert last == b"STOPPING=1"
    assert cluster.manager.end().code == 0
