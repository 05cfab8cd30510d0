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


@pytest.fixture(params=["docker", "podman"])
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
    notes = " ".join(cluster.api.nodes()["edge"]["notes"])
    assert f"tasks run in containers of {name}" in notes
    assert "containment holds" in notes, notes
    cluster.nodes["edge"].signal(signal.SIGTERM)
    cluster.nodes["edge"].end(30)


def test_an_engine_that_is_not_there_is_named_with_what_to_do(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.start_node("edge", options=("--engine", "docker", "--engine-socket", manta.root / "none.sock"))
    node = cluster.nodes["edge"]
    assert node.end(30).code == REFUSED, node.text()
    assert "the engine `docker` cannot be used" in node.text()
    assert "none.sock" in node.text() and "--engine-socket" in node.text()
