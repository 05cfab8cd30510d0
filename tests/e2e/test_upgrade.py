"""An agent's program is replaced by one of another release, and what runs on the node goes on."""

import os

import pytest

from harness.api import of_kind
from harness.cluster import Cluster
from harness.manta import binary
from harness.waiting import wait_until

GATED = """
    class Gated(Swarm):
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


@pytest.fixture
def cluster(manta, gate):
    """A manager and a node whose tasks wait at the gate."""
    return Cluster(manta).start("n", datasets={"gate": gate})


def release(manta, version):
    """Write this program as another release of the same length of name would be, and return its path."""
    own = manta("--version").out.split()[-1]
    assert len(version) == len(own) and version != own
    content = binary().read_bytes()
    assert own.encode() in content
    other = manta.work / f"manta-{version}"
    other.write_bytes(content.replace(own.encode(), version.encode()))
    other.chmod(0o755)
    return other


def script(manta, name, text):
    """Write a program of a few lines, and return its path."""
    path = manta.work / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def upgrade(manta, program, *arguments):
    return manta("node", "upgrade", "--data-dir", manta.root / "n-n", "--program", program, *arguments)


def attempts(cluster, swarm):
    """Every attempt that the swarm's history starts: id and epoch."""
    return {(event["attempt"], event["epoch"]) for event in of_kind(cluster.api.events(swarm), "attempt_offered")}


def agent_version(cluster, version):
    shown = cluster.api.get("/nodes/n")
    return None if shown["agent_version"] == version and shown["node"]["state"] == "online" else f"the node is {shown}"


def runs(cluster, swarm):
    cluster.wait_for_log(swarm, "at the gate", ["n"])
    assert cluster.api.swarm(swarm)["state"] == "running"


def test_an_attempt_goes_on_under_another_release_and_counts_once(cluster, manta, gate):
    swarm = cluster.deploy(manta.swarm(GATED))
    runs(cluster, swarm)
    before, agent = attempts(cluster, swarm), cluster.nodes["n"].process.pid
    other = release(manta, "0.1.9")
    upgraded = upgrade(manta, other, "--json")
    assert upgraded.code == 0, upgraded.text + cluster.nodes["n"].text()
    told = upgraded.documents()[0]
    assert (told["node"], told["to"], told["running"]) == ("n", "0.1.9", 1)
    wait_until(20, lambda: agent_version(cluster, "0.1.9"))
    assert cluster.nodes["n"].process.poll() is None
    assert os.readlink(f"/proc/{agent}/exe") == str(other)
    assert cluster.api.swarm(swarm)["state"] == "running"
    # Once more, back to the release that was there before, while the same attempt runs.
    again = upgrade(manta, binary())
    assert again.code == 0 and "1 attempt went on" in again.err, again.text
    (gate / "open").touch()
    cluster.wait_for(swarm, "succeeded")
    assert attempts(cluster, swarm) == before, "nothing ran twice, and no lease was granted anew"
    lines = [line["text"] for line in cluster.api.logs(swarm) if "at the gate" in line["text"]]
    assert len(lines) == 1, lines
    # What comes after the upgrade starts as ever.
    cluster.wait_for(cluster.deploy(manta.swarm(GATED)), "succeeded")


def test_a_program_that_cannot_take_over_leaves_the_old_one_as_it_was(cluster, manta, gate):
    swarm = cluster.deploy(manta.swarm(GATED))
    runs(cluster, swarm)
    before, version = attempts(cluster, swarm), manta("--version").out.split()[-1]
    broken = {
        "missing": (manta.work / "missing", "cannot be started"),
        "fails": (script(manta, "fails", "echo its library is missing >&2; exit 7"), "its library is missing"),
        "silent": (script(manta, "silent", "exit 0"), "does not say what it is"),
        "other": (
            script(manta, "other", """echo '{"agent_version":"9.9.9","protocol":9,"handover":9}'"""),
            "cannot take over attempts that run",
        ),
    }
    for program, words in broken.values():
        refused = upgrade(manta, program)
        told = " ".join(refused.err.split())
        assert refused.code == 8 and words in told, refused.text
        assert f"manta {version} goes on" in told, refused.text
    # It says what it should, and fails when it is started in the agent's place: the one before takes all back.
    own = binary()
    late = script(manta, "late", f'case "$*" in *--trial) exec {own} "$@";; esac; exec {own} "$@" --python /nowhere')
    refused = upgrade(manta, late)
    assert refused.code == 8 and "goes on" in refused.err, refused.text + cluster.nodes["n"].text()
    wait_until(20, lambda: agent_version(cluster, version))
    (gate / "open").touch()
    cluster.wait_for(swarm, "succeeded")
    assert attempts(cluster, swarm) == before, "nothing ran twice, and no lease was granted anew"


def test_the_time_of_a_task_goes_on_through_an_upgrade(cluster, manta, gate):
    timed = GATED.replace('datasets=["gate"]))', 'datasets=["gate"]), timeout=6, retries=0)')
    swarm = cluster.deploy(manta.swarm(timed))
    runs(cluster, swarm)
    assert upgrade(manta, binary()).code == 0
    cluster.wait_for(swarm, "failed", limit_s=20)
    (failed,) = of_kind(cluster.api.events(swarm), "attempt_failed")
    assert failed["failure"]["class"] == "timeout", failed
