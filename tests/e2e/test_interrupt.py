"""However `manta run` ends, nothing of it goes on; the leak checker of every test holds the proof."""

import signal

import pytest

INTERRUPTED = 130

WAITS = """
    class Waits(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


@pytest.fixture
def waiting(manta):
    """A `manta run` whose two tasks stand at a gate that nobody opens."""
    gate = manta.work / "gate"
    gate.mkdir()
    command = manta.start("run", manta.swarm(WAITS), "--nodes", 2, "--data", f"gate={gate}")
    command.wait_for("at the gate on node-", times=2)
    return command


def test_ctrl_c_ends_it_with_130(waiting):
    waiting.signal(signal.SIGINT)
    assert waiting.end(15).code == INTERRUPTED


def test_a_second_ctrl_c_changes_nothing(waiting):
    waiting.signal(signal.SIGINT)
    waiting.signal(signal.SIGINT)
    assert waiting.end(15).code == INTERRUPTED


def test_a_termination_ends_it(waiting):
    waiting.signal(signal.SIGTERM)
    assert waiting.end(15).code != 0


def test_a_kill_leaves_nothing(waiting):
    waiting.signal(signal.SIGKILL)
    waiting.end(5)


def test_nothing_is_left_in_the_home_but_the_cache(waiting, manta):
    waiting.signal(signal.SIGINT)
    waiting.end(15)
    home = manta.root / "h"
    left = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    assert all(path.startswith(".cache/manta") for path in left), left
