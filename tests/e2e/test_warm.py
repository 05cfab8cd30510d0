"""Warm starts through the whole product: told of, never for strict modules, and replaced by the next slower way."""

import os
import signal
from pathlib import Path

import pytest

from harness.api import of_kind
from harness.cluster import Cluster
from harness.containment import FULL, lacking_kernel_feature
from harness.processes import all_processes
from harness.waiting import wait_until

SWARM = """
    class Repeats(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("wanted", {wanted})
            self.task = Task(Module("modules/{module}.py", image="numpy"{more}), retries={retries})

        def execute(self):
            return self.task()
"""


@pytest.fixture
def cluster(manta):
    """A manager; nodes come with the tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a warm start gives each task a uid of its own")
    if missing := lacking_kernel_feature(FULL):
        pytest.skip(missing)
    cluster = Cluster(manta)
    cluster.start_manager()
    return cluster


def with_node(cluster, *options):
    """Start a node with such warm starts, and wait for it."""
    cluster.start_node("node-1", options=options)
    cluster.wait_for_nodes("node-1")


def started(cluster, swarm):
    """Return how the swarm's accepted attempts were started, and why not quicker."""
    timings = [event["timings"] for event in of_kind(cluster.api.events(swarm), "attempt_accepted")]
    return [(each["start_way"], each.get("start_instead", "")) for each in timings]


def repeat(cluster, manta, *, wanted=3, module="again", more="", retries=0):
    """Run a swarm of so many iterations to its end and return it."""
    text = SWARM.format(wanted=wanted, module=module, more=more, retries=retries)
    swarm = cluster.deploy(manta.swarm(text))
    cluster.wait_for(swarm, "succeeded")
    return swarm


def repeat_until(cluster, manta, way):
    """Repeat the swarm until an attempt was started that way, and return it; no other way comes without a reason."""
    found = []

    def look():
        swarm = repeat(cluster, manta)
        ways = started(cluster, swarm)
        unexplained = [each for each, why in ways if each != "standby" and not why]
        assert not unexplained, ways
        found.append(swarm)
        return None if way in dict(ways) else f"started {ways}"

    wait_until(60, look)
    return found[-1]


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


def test_what_waits_is_used_and_told_of(cluster, manta):
    with_node(cluster, "--standbys", 1)
    swarm = repeat_until(cluster, manta, "standby")
    shown = manta("show", swarm, environment=cluster.as_user)
    assert "1 standby" in shown.out or "1 fork" in shown.out, shown.text
    told = manta("events", swarm, environment=cluster.as_user)
    assert "; standby start" in told.out, told.text


def test_without_standbys_tasks_are_forked_with_a_reason(cluster, manta):
    with_node(cluster, "--standbys", 0)
    swarm = repeat_until(cluster, manta, "fork")
    assert ("fork", "no standby of its image is kept") in started(cluster, swarm)


def test_a_strict_module_always_starts_cold(cluster, manta):
    with_node(cluster, "--standbys", 1)
    repeat_until(cluster, manta, "standby")
    swarm = repeat(cluster, manta, more=', isolation="strict"')
    assert started(cluster, swarm) == [("cold", "")] * 3


def test_where_warm_starts_are_on_the_first_task_waits_for_its_zygote(cluster, manta):
    with_node(cluster, "--warm", "on", "--standbys", 1)
    ways = started(cluster, repeat(cluster, manta))
    assert "cold" not in dict(ways), ways


def test_where_warm_starts_are_off_no_zygote_is_made(cluster, manta):
    with_node(cluster, "--warm", "off")
    assert started(cluster, repeat(cluster, manta)) == [("cold", "")] * 3
    assert zygotes(cluster) == []


def test_the_end_of_a_zygote_is_a_failure_of_the_platform_and_tried_again(cluster, manta):
    gate = manta.work / "gate"
    gate.mkdir()
    with_node(cluster, "--standbys", 1, "--dataset", f"gate={gate}")
    repeat_until(cluster, manta, "standby")
    text = SWARM.format(wanted=0, module="gate", more=', datasets=["gate"]', retries=3)
    swarm = cluster.deploy(manta.swarm(text))
    cluster.wait_for_log(swarm, "at the gate", ["node-1"])
    (zygote,) = zygotes(cluster)
    os.kill(zygote, signal.SIGKILL)
    wait_until(60, lambda: None if at_the_gate(cluster, swarm) == 2 else f"{at_the_gate(cluster, swarm)} at the gate")
    (gate / "open").touch()
    cluster.wait_for(swarm, "succeeded")
    (failed,) = of_kind(cluster.api.events(swarm), "attempt_failed")
    told = failed["failure"]["class"], failed["failure"]["message"], failed["timings"]["start_way"]
    assert told == ("platform", "its sandbox was lost: its zygote ended", "standby")


def at_the_gate(cluster, swarm):
    """Return how many attempts have come to the gate."""
    return sum("at the gate" in line["text"] for line in cluster.api.logs(swarm))


def test_a_zygote_that_is_gone_is_replaced_and_meanwhile_tasks_start_cold_with_the_reason(cluster, manta):
    with_node(cluster, "--standbys", 1)
    repeat_until(cluster, manta, "standby")
    (zygote,) = zygotes(cluster)
    # One task follows the other all the time, so that some begin while the zygote is missing on a slow machine, too.
    swarm = cluster.deploy(manta.swarm(SWARM.format(wanted=100_000, module="again", more="", retries=0)))
    wait_until(60, lambda: None if started(cluster, swarm) else "no task was accepted")
    os.kill(zygote, signal.SIGKILL)

    def is_told():
        ways = started(cluster, swarm)
        told = [why for way, why in ways if way == "cold" and "its zygote is not there: its process ended" in why]
        return None if told else f"started {ways[-5:]}"

    wait_until(60, is_told)
    wait_until(90, lambda: None if zygotes(cluster) not in ([], [zygote]) else "no other zygote is there")
    manta("stop", swarm, environment=cluster.as_user)
    repeat_until(cluster, manta, "standby")


def test_an_agent_that_is_killed_leaves_neither_zygote_nor_standby(cluster, manta):
    with_node(cluster, "--standbys", 2)
    repeat_until(cluster, manta, "standby")
    assert len(zygotes(cluster)) == 1
    # The leak checker sees what stays behind.
    cluster.kill_node("node-1")
