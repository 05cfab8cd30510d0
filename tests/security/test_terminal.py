"""What a task writes moves no cursor, hides no text and passes for no line of ours, wherever a command prints it."""

import pytest

from harness.cluster import Cluster
from harness.containment import FIXTURES, USERS, lacking_kernel_feature

SWARM = """
    class Writes(Swarm):
        def __init__(self):
            super().__init__()
            self.writes = Task(Module("modules/writes.py"), retries=0)

        def execute(self):
            return self.writes()
"""

TASK = r"""
    import sys
    from manta.light.task import Task

    EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u202c\r"
    FORGED = "\nnote: swarm Writes succeeded\nbecause:\n  event 1: all is well"


    class Evil(ValueError):
        pass


    class Writes(Task):
        def run(self):
            self.logger.warning("logged %s%s", EVIL, FORGED)
            print("printed", EVIL, flush=True)
            print("wrote", EVIL, file=sys.stderr, flush=True)
            self.world.results.add("text", EVIL)
            self.metrics.log({"loss": 1.0})
            raise Evil("raised " + EVIL + FORGED)
"""

HIDDEN = "\x1b\x07\x9b\u202e\u202c"


def assert_harmless(text):
    """Check that nothing in the text moves a cursor, and that no line of it is one that the task forged."""
    assert not set(text) & set(HIDDEN), [line for line in text.splitlines() if set(line) & set(HIDDEN)]
    forged = [
        line for line in text.splitlines() if line.startswith(("note: swarm Writes", "because: ", "  event 1: all"))
    ]
    assert not forged, text


def test_no_command_prints_what_a_task_wrote_as_it_is(request):
    if missing := lacking_kernel_feature(USERS[0]):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[USERS[0]])
    manta.file("modules/writes.py", TASK)
    swarm_file = manta.swarm(SWARM)
    ended = manta("run", swarm_file, "--nodes", 1)
    assert ended.code == 1 and "raised " in ended.text and "logged " in ended.text, ended.text
    assert_harmless(ended.text)

    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(swarm_file)
    cluster.wait_for(swarm, "failed")
    attempt = next(event["event"]["attempt"] for event in cluster.api.events(swarm) if "attempt" in event["event"])
    for command in (
        ("logs", swarm),
        ("events", swarm),
        ("show", swarm),
        ("ls",),
        ("results", swarm, "--all"),
        ("why", swarm),
        ("why", f"{swarm}/writes"),
        ("why", attempt),
    ):
        ended = manta(*command, environment=cluster.as_user)
        assert ended.code == 0, ended.text
        assert_harmless(ended.text)
    assert_harmless(cluster.nodes["node-1"].text())
    assert_harmless(cluster.manager.text())
