"""A swarm on nodes whose tasks run in containers of Docker and Podman, and what is said where they cannot."""

import os
import signal

import pytest

from harness import engines
from harness.cluster import Cluster
from harness.waiting import wait_until
from harness.wheels import tiny_index

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


PACKAGES = '''
"""Tells which version of a package it has, and whether that can be changed."""

import os

import tinypkg

from manta.light.task import Task


class Shows(Task):
    def run(self):
        self.logger.info("tinypkg %s, container %s", tinypkg.__version__, os.path.exists("/.manta/entry"))
        try:
            os.unlink(tinypkg.__file__)
        except OSError:
            self.logger.info("it stays")
        self.logger.info("found %s", sorted(os.listdir(os.path.dirname(os.path.dirname(tinypkg.__file__)))))


def main():
    Shows().run()
'''

CONFLICTING = """
    class Two(Swarm):
        def __init__(self):
            super().__init__()
            self.one = Task(Module("show1", image="team/model:1"))
            self.two = Task(Module("show2", image="team/model:1"))

        def execute(self):
            return self.two(self.one())
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


def test_packages_of_locks_are_imported_in_a_stored_image_each_version_by_whom_it_was_locked_for(engine, manta):
    name, socket = engine
    require_index(manta)
    built = manta("image", "build", "latest", "--json", limit_s=300)
    assert built.code == 0, built.text
    cluster = Cluster(manta)
    cluster.start_manager()
    named = ("--image", f"team/model:1={built.documents()[0]['digest']}")
    cluster.start_node("edge", options=("--engine", name, "--engine-socket", socket, *named))
    cluster.wait_for_nodes("edge")
    said = shown(cluster, manta.swarm(CONFLICTING), True)
    for task, version in (("show1", "1.0"), ("show2", "2.0")):
        assert (task, f"found ['tinypkg', 'tinypkg-{version}.dist-info']") in said, said
    assert installing(said) == {"show1", "show2"}
    assert installing(shown(cluster, manta.swarm(CONFLICTING), True)) == set(), "one layer for all with the same lock"
    layers = manta.root / "n-edge" / "layers"
    assert len(list(layers.iterdir())) == 2
    assert not list(layers.rglob("*.pyc")), "nothing was written beside what is shared"


def test_packages_that_an_agent_left_are_those_of_a_task_in_a_container_too(engine, manta):
    name, socket = engine
    require_index(manta)
    cluster = Cluster(manta)
    cluster.start_manager()
    before = os.umask(0o077)
    try:
        cluster.start_node("edge")
    finally:
        os.umask(before)
    cluster.wait_for_nodes("edge")
    swarm = manta.swarm(CONFLICTING.replace(', image="team/model:1"', ""))
    assert installing(shown(cluster, swarm, False)) == {"show1", "show2"}
    wait_until(20, lambda: lacks_records(manta.root / "n-edge" / "layers"))
    cluster.nodes["edge"].signal(signal.SIGTERM)
    cluster.nodes["edge"].end(30)
    cluster.start_node("edge", options=("--engine", name, "--engine-socket", socket))
    cluster.wait_for_nodes("edge")
    assert installing(shown(cluster, swarm, True)) == set(), "they were there"


def require_index(manta):
    """Write modules that need two versions of a package, of an index that is a folder."""
    tiny_index(manta)
    for version in ("1.0", "2.0"):
        manta.file(f"show{version[0]}/__init__.py", PACKAGES)
        manta.file(f"show{version[0]}/requirements.txt", f"tinypkg=={version}\n")


def shown(cluster, swarm, is_contained):
    """Run the modules, check that each imported the version that it was locked for, and return who logged what."""
    swarm = cluster.deploy(swarm)
    cluster.wait_for(swarm, "succeeded", limit_s=180)
    said = {(line["task"], line["text"]) for line in cluster.api.logs(swarm)}
    for task, version in (("show1", "1.0"), ("show2", "2.0")):
        for text in (f"tinypkg {version}, container {is_contained}", "it stays"):
            assert (task, text) in said, said
    return said


def installing(said):
    """Return for whose attempts packages were installed."""
    return {task for task, text in said if "installed 1 packages of the module's lock" in text}


def lacks_records(layers):
    """Return None once all layers outlive their agent."""
    lacking = [layer.name for layer in layers.iterdir() if not (layer / "layer.json").exists()]
    return f"not recorded: {lacking}" if lacking else None


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
