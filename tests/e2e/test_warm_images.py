"""Warm starts in stored images: each has a zygote of its own, shows nothing of another, and ends with its image."""

import os
from pathlib import Path

import pytest

from harness.api import of_kind
from harness.cluster import Cluster
from harness.containment import FULL, lacking_kernel_feature
from harness.images import with_file
from harness.processes import all_processes
from harness.waiting import wait_until

LIMIT_S = 180
"""An image is probed twice before its tasks start warm."""

LOOKS = '''
"""Says which image it sees, and asks for another iteration."""

import os

from manta.light.task import Task


class Looks(Task):
    def run(self):
        marks = [name for name in sorted(os.listdir("/")) if name.startswith("mark")]
        text = [open("/" + name).read() for name in marks]
        self.logger.info("sees %s: %s", ",".join(marks), ",".join(text))
        if self.iteration + 1 < 3:
            self.world.schedule_next_iter()


def main():
    Looks().run()
'''

SWARM = """
    class Repeats(Swarm):
        def __init__(self):
            super().__init__()
            self.task = Task(Module("modules/looks.py", image={image!r}{more}))

        def execute(self):
            return self.task()
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of a curated image, built once."""
    return tmp_path_factory.mktemp("images") / "latest.tar"


@pytest.fixture
def cluster(manta, archive):
    """A manager, and two images of one site that differ by a file."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a warm start gives each task a uid of its own")
    if missing := lacking_kernel_feature(FULL):
        pytest.skip(missing)
    manta.file("modules/looks.py", LOOKS)
    if not archive.exists():
        ended = manta("image", "build", "latest", "--output", archive, limit_s=300)
        assert ended.code == 0, ended.text
    for name in ("one", "two"):
        take_in(manta, archive, name, name)
    cluster = Cluster(manta)
    cluster.start_manager()
    return cluster


def take_in(manta, archive, name, text):
    """Take in an image `team/NAME:1` that holds a file `mark-NAME`."""
    path = manta.root / f"{name}.tar"
    with_file(archive, path, f"mark-{name}", text)
    ended = manta("image", "import", path, "--name", f"team/{name}:1")
    assert ended.code == 0, ended.text


def with_node(cluster, *options):
    """Start a node with such warm starts, and wait for it."""
    cluster.start_node("node-1", options=options)
    cluster.wait_for_nodes("node-1")


def run(cluster, manta, image, more=""):
    """Run a swarm in an image to its end; return how its attempts were started, and what they saw."""
    swarm = cluster.deploy(manta.swarm(SWARM.format(image=image, more=more)))
    cluster.wait_for(swarm, "succeeded", limit_s=LIMIT_S)
    timings = [event["timings"] for event in of_kind(cluster.api.events(swarm), "attempt_accepted")]
    seen = {line["text"] for line in cluster.api.logs(swarm) if line["text"].startswith("sees")}
    return [(each["start_way"], each.get("start_instead", "")) for each in timings], seen


def run_until(cluster, manta, image, way):
    """Repeat the swarm until an attempt was started that way; return what attempts saw."""
    found = []

    def look():
        ways, seen = run(cluster, manta, image)
        unexplained = [each for each, why in ways if each != "standby" and not why]
        assert not unexplained, ways
        found.append(seen)
        return None if way in dict(ways) else f"started {ways}"

    wait_until(LIMIT_S, look)
    return set().union(*found)


def zygotes(cluster):
    """Return the pids of the node's zygotes; what they forked is deeper by a process namespace."""
    processes = all_processes()
    found = []
    for process in processes.values():
        parent = process
        while parent is not None and parent.pid != cluster.nodes["node-1"].pid:
            parent = processes.get(parent.parent)
        status = Path(f"/proc/{process.pid}/status")
        if parent is None or "/manta/zygote.py" not in process.command or not status.exists():
            continue
        numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:"))
        if len(numbers.split()) == 3:
            found.append(process.pid)
    return found


def test_tasks_of_two_images_start_warm_and_see_nothing_of_each_other(cluster, manta):
    with_node(cluster, "--standbys", 1)
    for name in ("one", "two"):
        assert run_until(cluster, manta, f"team/{name}:1", "standby") == {f"sees mark-{name}: {name}"}
    assert len(zygotes(cluster)) == 2
    ways, seen = run(cluster, manta, "team/one:1")
    assert "cold" not in dict(ways) and seen == {"sees mark-one: one"}, ways
    notes = cluster.api.nodes()["node-1"]["notes"]
    assert sum("warm starts in `sha256:" in note and "containment holds" in note for note in notes) == 2, notes
    ways, _ = run(cluster, manta, "team/one:1", more=', isolation="strict"')
    assert ways == [("cold", "")] * 3


def test_without_standbys_tasks_of_an_image_are_forked(cluster, manta):
    with_node(cluster, "--standbys", 0)
    assert run_until(cluster, manta, "team/one:1", "fork") == {"sees mark-one: one"}


def test_where_warm_starts_are_on_the_first_task_in_an_image_waits_for_its_zygote(cluster, manta):
    with_node(cluster, "--warm", "on", "--standbys", 1)
    ways, _ = run(cluster, manta, "team/one:1")
    assert "cold" not in dict(ways), ways


def test_a_zygote_goes_with_its_image_and_the_next_one_is_of_what_is_there(cluster, manta, archive):
    with_node(cluster, "--standbys", 1)
    run_until(cluster, manta, "team/one:1", "standby")
    assert len(zygotes(cluster)) == 1
    ended = manta("image", "rm", "team/one:1")
    assert ended.code == 0, f"a zygote does not keep its image: {ended.text}"
    wait_until(60, lambda: f"zygotes {zygotes(cluster)}" if zygotes(cluster) else None)
    take_in(manta, archive, "one", "one")
    assert run_until(cluster, manta, "team/one:1", "standby") == {"sees mark-one: one"}
    # At once: what waits was forked in the directory that is gone, and must not be used.
    assert manta("image", "rm", "team/one:1").code == 0
    take_in(manta, archive, "one", "one")
    assert run(cluster, manta, "team/one:1")[1] == {"sees mark-one: one"}


def test_an_agent_that_is_killed_leaves_no_zygote_of_an_image(cluster, manta):
    with_node(cluster, "--standbys", 2)
    run_until(cluster, manta, "team/one:1", "standby")
    assert len(zygotes(cluster)) == 1
    # The leak checker sees what stays behind.
    cluster.kill_node("node-1")
