"""One attempt of the past once more: on its node, or on this machine, with the verdict and no trace in the history."""

import os
import pty
import select
import signal
import subprocess
import time

import pytest

from harness.api import of_kind
from harness.cluster import Cluster
from harness.manta import binary

pytest.importorskip("numpy")

SAME, DIFFERENT, NOT_FOUND, CONFLICT = 0, 1, 3, 8

DRAWN = """
    class DrawnTwice(Swarm):
        def __init__(self):
            super().__init__(max_iteration=2)
            self.set_global("mode", "plain")
            self.drawn = Task(Module("modules/drawn.py", image="numpy", datasets=["rows"]), retries=0)

        def execute(self):
            return self.drawn()
"""


@pytest.fixture
def cluster(manta):
    """A cluster of one node with a dataset of three rows."""
    rows = manta.file("rows.txt", "one\ntwo\nthree\n")
    return Cluster(manta).start("node-1", datasets={"rows": rows})


def ran(manta, cluster, mode, end="succeeded"):
    """Run the swarm to its end in a mode; return its id and its attempts, in order."""
    swarm = cluster.deploy(manta.swarm(DRAWN), "--set", f"mode={mode}")
    cluster.wait_for(swarm, end)
    return swarm, [event["attempt"] for event in of_kind(cluster.api.events(swarm), "attempt_offered")]


def replay(manta, cluster, *arguments):
    """Run `manta replay` as a user of the cluster."""
    return manta("replay", *arguments, environment=cluster.as_user)


def test_attempts_of_every_iteration_are_identical_even_after_a_restart(manta, cluster):
    swarm, attempts = ran(manta, cluster, "plain")
    history = cluster.api.events(swarm)
    assert len(attempts) == 2
    for attempt in attempts:
        ended = replay(manta, cluster, attempt)
        assert ended.code == SAME, ended.text
        assert "identical: 1 result and 1 global, to the bit" in ended.out
        assert "3 rows in iteration" in ended.err, "the log of the replay is shown"
    cluster.manager.stop()
    address = cluster.url.removeprefix("http://")
    cluster.start_manager(address)
    cluster.wait_for_nodes("node-1")
    ended = replay(manta, cluster, attempts[0], "--json")
    assert ended.code == SAME, ended.text
    (document,) = ended.documents()
    assert document["identical"] is True and document["ran_on"] == "node-1"
    assert [value["name"] for value in document["values"]] == ["seeded", "sum"]
    assert cluster.api.events(swarm) == history, "nothing of a replay is in the history"
    assert len(cluster.api.results(swarm)) == 2


def test_the_first_tensor_that_differs_is_named_with_element_and_distance(manta, cluster):
    _, attempts = ran(manta, cluster, "clock")
    ended = replay(manta, cluster, attempts[1])
    assert ended.code == DIFFERENT, ended.text
    assert "different: 1 of 3 values; the first is result clocked" in ended.out
    assert 'result clocked: ["layers"][0]: element [1, 0]:' in ended.out
    assert "1 of 4 elements differ, by at most" in ended.out
    (document,) = replay(manta, cluster, attempts[1], "--json").documents()
    (difference,) = [value["difference"] for value in document["values"] if "difference" in value]
    assert (difference["what"], difference["index"], difference["differing"]) == ("elements", [1, 0], 1)
    assert 0 < difference["max_absolute"] < 1000


def test_a_failure_is_reproduced_with_its_place(manta, cluster):
    swarm, attempts = ran(manta, cluster, "fail", end="failed")
    ended = replay(manta, cluster, attempts[0])
    assert ended.code == SAME, ended.text
    assert "reproduced: it failed in the same way (user_error): ValueError: no data of this kind" in ended.out
    (document,) = replay(manta, cluster, attempts[0], "--json").documents()
    assert document["failure"]["same"] is True
    assert document["failure"]["replayed"]["location"].startswith("drawn.py:")
    assert [value["name"] for value in document["values"]] == ["seeded"], "what it had published is compared, too"
    assert len(of_kind(cluster.api.events(swarm), "attempt_failed")) == 1


def test_an_attempt_runs_on_this_machine_with_a_stand_in(manta, cluster):
    _, attempts = ran(manta, cluster, "plain")
    ended = replay(manta, cluster, attempts[1], "--local")
    assert ended.code == 2, ended.text
    assert "needs a stand-in for `rows`" in ended.err and "--data rows=PATH" in ended.err
    ended = replay(manta, cluster, attempts[1], "--data", f"row={manta.work}")
    assert ended.code == 2 and "did you mean `rows`?" in ended.err, ended.text

    same = f"rows={manta.work / 'rows.txt'}"
    ended = replay(manta, cluster, attempts[1], "--local", "--data", same)
    assert ended.code == SAME, ended.text
    assert "stands in for the dataset `rows`" in ended.err and "3 rows in iteration 1" in ended.err
    shorter = manta.file("shorter.txt", "one\n")
    ended = replay(manta, cluster, attempts[1], "--data", f"rows={shorter}")
    assert ended.code == DIFFERENT, ended.text
    assert 'result seeded: ["rows"]: 3 in the original, 1 in the replay' in ended.out
    assert "stands in for the dataset `rows`" in ended.out, "what may explain it is said"


def test_a_failure_is_reproduced_on_this_machine_while_its_node_is_away(manta, cluster):
    _, attempts = ran(manta, cluster, "fail", end="failed")
    cluster.nodes.pop("node-1").stop()
    ended = replay(manta, cluster, attempts[0])
    assert ended.code == CONFLICT, ended.text
    assert "`node-1` is gone" in ended.err and "--local" in ended.err
    ended = replay(manta, cluster, attempts[0], "--local", "--data", f"rows={manta.work / 'rows.txt'}")
    assert ended.code == SAME, ended.text
    assert "reproduced" in ended.out


def test_an_attempt_that_is_not_there_has_its_own_exit_code(manta, cluster):
    ended = replay(manta, cluster, "at_00000000000000000000000000")
    assert ended.code == NOT_FOUND, ended.text


GATED = """
    class Gated(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


@pytest.fixture
def waiting(manta):
    """A cluster whose node replays an attempt that stands at a closed gate, and that replay."""
    gate = manta.work / "gate"
    gate.mkdir()
    (gate / "open").touch()
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    swarm = cluster.deploy(manta.swarm(GATED))
    cluster.wait_for(swarm, "succeeded")
    (event,) = of_kind(cluster.api.events(swarm), "attempt_offered")
    (gate / "open").unlink()
    command = manta.start("replay", event["attempt"], environment=cluster.as_user)
    command.wait_for("at the gate on node-1")
    return cluster, gate, command


def test_an_interrupted_replay_ends_on_its_node_too(manta, waiting):
    cluster, gate, command = waiting
    command.signal(signal.SIGINT)
    assert command.end().code == 130
    (gate / "open").touch()
    for _ in range(2):
        swarm = cluster.deploy(manta.swarm(GATED))
        cluster.wait_for(swarm, "succeeded")


def test_a_replay_is_lost_with_its_node_and_says_so(waiting):
    cluster, _, command = waiting
    cluster.kill_node("node-1")
    ended = command.end()
    assert ended.code == CONFLICT, ended.text
    assert "the replay was lost: the connection of node `node-1` ended" in ended.err and "--local" in ended.err


class Terminal:
    """A command on a pseudo-terminal, spoken to line by line."""

    def __init__(self, manta, cluster, *arguments):
        self._master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [binary(), "replay", *arguments],
            cwd=manta.work,
            env={**manta.environment, **cluster.as_user, "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, text, limit_s=60):
        """Read until ``text`` stands in what came since the last time."""
        deadline = time.monotonic() + limit_s
        while text not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come:\n{self.seen}"
            try:
                self.seen += os.read(self._master, 4096).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended before {text!r}:\n{self.seen}") from None
        before, _, self.seen = self.seen.partition(text)
        return before

    def say(self, line):
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def end(self, limit_s=60):
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(limit_s)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._master)


def test_the_debugger_opens_where_an_exception_ended_the_task(manta, cluster):
    _, attempts = ran(manta, cluster, "fail", end="failed")
    terminal = Terminal(manta, cluster, attempts[0], "--pdb", "--data", f"rows={manta.work / 'rows.txt'}")
    terminal.wait_for("(Pdb) ")
    terminal.say("p mode, self.iteration, weights.shape")
    assert "('fail', 0, (4, 3))" in terminal.wait_for("(Pdb) ")
    terminal.say("q")
    terminal.wait_for("reproduced: it failed in the same way")
    assert terminal.end() == SAME


def test_the_debugger_opens_before_the_first_line_and_may_be_left(manta, cluster):
    _, attempts = ran(manta, cluster, "plain")
    arguments = (attempts[0], "--break", "--data", f"rows={manta.work / 'rows.txt'}")
    terminal = Terminal(manta, cluster, *arguments)
    assert "mode = self.world.globals" in terminal.wait_for("(Pdb) ")
    terminal.say("c")
    terminal.wait_for("identical: 1 result and 1 global")
    assert terminal.end() == SAME
    terminal = Terminal(manta, cluster, *arguments)
    terminal.wait_for("(Pdb) ")
    terminal.say("q")
    assert terminal.end() == 130
