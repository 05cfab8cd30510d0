"""A swarm on nodes whose tasks run in containers of Docker and Podman, and what is said where they cannot."""

import signal

import pytest

from harness import engines
from harness.cluster import Cluster

REFUSED = 4

LOOKS = '''
"""Publishes a value that was read from a dataset, and logs how the task is contained."""

import os

from manta.light.task import Task


class Looks(Task):
    def run(self):
        self.world.results.add("total", sum(int(row) for row in self.local.read_file_lines("rows")))
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        self.logger.info("filters %s, capabilities %s", status["Seccomp"].strip(), int(status["CapBnd"], 16))
        self.logger.info("container %s", os.path.exists("/.manta/entry"))


def main():
    Looks().run()
'''

SWARM = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.looks = Task(Module("modules/looks.py", datasets=["rows"]))

        def execute(self):
            return self.looks()
"""


IMAGE = '''
"""Tells what it finds in its image."""

import os
import sys

from manta.light.task import Task


class Looks(Task):
    def run(self):
        self.logger.info("python %s of %s", sys.version.split()[0], sys.executable)
        self.logger.info("shells: %d", sum(os.path.exists(path) for path in ("/bin/sh", "/usr/bin/env", "/bin/ls")))
        self.logger.info("container %s", os.path.exists("/.manta/entry"))
        self.world.globals["model"] = {"weights": [0.5] * 1000}
        self.world.results.add("size", len(self.world.globals["model"]["weights"]))


def main():
    Looks().run()
'''

IN_AN_IMAGE = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.looks = Task(Module("modules/looks.py", image="team/model:1"))
            self.set_global("model", {"weights": [1.0] * 10})

        def execute(self):
            return self.looks()
"""

GREEDY = '''
"""Uses up its memory in a child, so that the kernel ends it."""

import os
import signal

from manta.light.task import Task


class Greedy(Task):
    def run(self):
        if os.fork() == 0:
            hoard = []
            while True:
                hoard.append(bytearray(8 << 20))
        while True:
            signal.pause()


def main():
    Greedy().run()
'''

LIMITED = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            greedy = Module("modules/greedy.py", resources={"memory": "192MiB"})
            self.greedy = Task(greedy, retries=0, on_failure="continue")

        def execute(self):
            return self.greedy()
"""


@pytest.fixture(params=["docker", "podman", "gvisor"])
def engine(request):
    """An engine and its socket."""
    with engines.running(request.param) as socket:
        yield request.param, socket


def test_a_swarm_runs_in_containers_and_the_node_says_so(engine, manta):
    name, socket = engine
    rows = manta.file("rows.txt", "1\n2\n3\n")
    cluster = Cluster(manta)
    cluster.start_manager()
    options = ("--engine", name, "--engine-socket", socket)
    cluster.start_node("edge", {"rows": rows}, options=options)
    cluster.wait_for_nodes("edge")
    manta.file("modules/looks.py", LOOKS)
    swarm = cluster.deploy(manta.swarm(SWARM))
    cluster.wait_for(swarm, "succeeded", limit_s=180)
    logs = [line["text"] for line in cluster.api.logs(swarm)]
    assert "filters 2, capabilities 0" in logs
    assert "container True" in logs
    node = cluster.api.nodes()["edge"]
    assert node["engine"] == name, node
    (listed,) = manta("node", "ls", "--json", environment=cluster.as_user).documents()[0]["nodes"]
    assert listed["engine"] == name, listed
    assert name in manta("node", "ls", environment=cluster.as_user).out.splitlines()[1]
    notes = " ".join(node["notes"])
    assert f"tasks run in containers of {name}" in notes
    assert "containment holds" in notes, notes
    cluster.nodes["edge"].signal(signal.SIGTERM)
    cluster.nodes["edge"].end(30)


def test_a_stored_image_is_run_in_by_its_digest_and_limits_are_told_as_elsewhere(engine, manta):
    name, socket = engine
    built = manta("image", "build", "latest", "--json", limit_s=300)
    assert built.code == 0, built.text
    image = built.documents()[0]
    cluster = Cluster(manta)
    cluster.start_manager()
    named = ("--image", f"team/model:1={image['digest']}")
    cluster.start_node("edge", options=("--engine", name, "--engine-socket", socket, *named))
    cluster.start_node("plain", options=named)
    cluster.wait_for_nodes("edge", "plain")
    assert {node["engine"] for node in cluster.api.nodes().values()} == {name, "builtin"}
    manta.file("modules/looks.py", IMAGE)
    swarm = cluster.deploy(manta.swarm(IN_AN_IMAGE))
    cluster.wait_for(swarm, "succeeded", limit_s=180)
    said = {(line["node"], line["text"]) for line in cluster.api.logs(swarm)}
    python = f"python {image['labels']['manta.python']}"
    assert {("edge", "shells: 0"), ("edge", "container True"), ("plain", "container False")} <= said, said
    assert any(node == "edge" and text.startswith(python) for node, text in said), said
    assert {result["node"] for result in cluster.api.results(swarm)} == {"edge", "plain"}
    manta.file("modules/greedy.py", GREEDY)
    swarm = cluster.deploy(manta.swarm(LIMITED))
    cluster.wait_for(swarm, "succeeded", limit_s=180)
    attempts = why(manta, cluster, f"{swarm}/greedy")["attempts"]
    failures = [why(manta, cluster, attempt["attempt"])["failure"] for attempt in attempts]
    assert [failure["class"] for failure in failures] == ["resource_limit"] * 2, failures
    for failure in failures:
        assert failure["reached"]["limit"] == "memory", failures
        assert "limit of 192 MiB, peak 1" in failure["message"], failures


def why(manta, cluster, what):
    """Return what `manta why` tells of a task or an attempt."""
    ended = manta("why", what, "--json", environment=cluster.as_user)
    assert ended.code == 0, ended.text
    return ended.documents()[0]


def test_an_engine_that_is_not_there_is_named_with_what_to_do(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.start_node("edge", options=("--engine", "docker", "--engine-socket", manta.root / "none.sock"))
    node = cluster.nodes["edge"]
    assert node.end(30).code == REFUSED, node.text()
    assert "the engine `docker` cannot be used" in node.text()
    assert "none.sock" in node.text() and "--engine-socket" in node.text()
