"""Nothing is left of an attempt, however it, its launcher or its agent ended; the leak checker looks, too."""

import signal

import pytest

from harness.cluster import Cluster
from harness.processes import all_processes, descendants, kill
from harness.waiting import wait_until

SWARM = """
    class Daemons(Swarm):
        def __init__(self):
            super().__init__()
            self.task = Task(Module("modules/daemons.py", datasets=["gate"]), retries=0, timeout=120)

        def execute(self):
            return self.task()
"""

TASK = '''
"""Leaves files and processes that belong to nobody, then ends as it is told by a file in a dataset."""

import os
import signal
import tempfile
import time

from manta.light.task import Task


class Daemons(Task):
    def run(self):
        for number in range(100):
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(bytes(1000))
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.closerange(0, 64)
                while True:
                    signal.pause()
            os._exit(0)
        self.logger.info("daemons run, attempt %s", self.attempt)
        gate = self.local.get_dataset("gate").path
        while not os.path.exists(gate / "open"):
            time.sleep(0.02)
        end = (gate / "open").read_text()
        if end == "fail":
            raise ValueError("as told")
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def cluster(manta):
    """A node on which the task waits to be told how to end."""
    manta.file("modules/daemons.py", TASK)
    gate = manta.work / "gate"
    gate.mkdir()
    cluster = Cluster(manta)
    cluster.start_manager()
    # What waits for tasks outlives each of them.
    cluster.start_node("node-1", {"gate": gate}, options=("--warm", "off"))
    cluster.wait_for_nodes("node-1")
    cluster.gate = gate
    cluster.own = {(process.pid, process.started) for process in descendants(launcher_of(cluster).pid)}
    cluster.swarm = cluster.deploy(manta.swarm(SWARM))
    cluster.wait_for_log(cluster.swarm, "daemons run", ["node-1"])
    return cluster


def tasks_of(cluster):
    """Return the processes of the node's tasks and their first processes: all below its launcher but its own."""
    launcher = launcher_of(cluster)
    return [process for process in descendants(launcher.pid) if (process.pid, process.started) not in cluster.own]


def launcher_of(cluster):
    """Return the launcher of the node's agent."""
    agent = cluster.nodes["node-1"].pid
    (launcher,) = [process for process in descendants(agent) if process.parent == agent]
    return launcher


def wait_until_gone(processes):
    """Wait until none of the processes lives."""

    def look():
        now = {(process.pid, process.started): process for process in all_processes().values()}
        found = [now[key] for key in ((process.pid, process.started) for process in processes) if key in now]
        lives = [process for process in found if process.state != "Z"]
        return f"still there: {[str(process) for process in lives]}" if lives else None

    wait_until(15, look)


@pytest.mark.parametrize("end, state", [("succeed", "succeeded"), ("fail", "failed"), ("kill", "failed")])
def test_nothing_is_left_of_a_task_that_ended(cluster, end, state):
    left = tasks_of(cluster)
    assert left
    (cluster.gate / "open").write_text(end)
    cluster.wait_for(cluster.swarm, state)
    wait_until_gone(left)
    assert tasks_of(cluster) == []


def test_nothing_is_left_of_a_task_whose_launcher_was_killed(cluster):
    left, launcher = tasks_of(cluster), launcher_of(cluster)
    assert left
    kill(launcher)
    wait_until_gone([*left, launcher])
    ended = cluster.nodes.pop("node-1").end(20)
    assert ended.code != 0 and "launcher" in ended.text, ended.text
    # What its name stands on is swept by the next one; the leak checker looks at the end.
    cluster.start_node("node-1", {"gate": cluster.gate})
    cluster.wait_for_nodes("node-1")
    (cluster.gate / "open").write_text("succeed")
    cluster.wait_for(cluster.swarm, "succeeded")


def test_nothing_is_left_of_a_task_whose_agent_and_launcher_were_killed_at_once(cluster):
    left, launcher = tasks_of(cluster), launcher_of(cluster)
    agent = cluster.nodes.pop("node-1")
    agent.signal(signal.SIGSTOP)
    kill(launcher)
    agent.signal(signal.SIGKILL)
    agent.end(10)
    wait_until_gone([*left, launcher])
    cluster.start_node("node-1", {"gate": cluster.gate})
    cluster.wait_for_nodes("node-1")
    (cluster.gate / "open").write_text("succeed")
    cluster.wait_for(cluster.swarm, "succeeded")
