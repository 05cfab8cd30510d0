"""A hostile task floods the one socket that it has: it is refused in words or ended, and orchestration goes on."""

import pytest

from harness.containment import FIXTURES, USERS, lacking_kernel_feature

SWARM = """
    class Flooded(Swarm):
        def __init__(self):
            super().__init__()
            self.flood = Task(Module("modules/flood.py"), retries=0, on_failure="continue")
            self.honest = Task(Module("modules/ok.py"))

        def execute(self):
            return [self.flood(), self.honest()]
"""

TASK = """
    import json, os, socket, struct
    from manta.light.task import Task
    from manta.light import _attempt


    class Flood(Task):
        def refused(self, what, call):
            try:
                call()
            except Exception as error:
                self.logger.info("refused %s: %s", what, str(error)[:200])
            else:
                self.logger.error("TAKEN: %s", what)

        def ask(self, name, **fields):
            return _attempt.current("flood").request(name, **fields)

        def run(self):
            sock = socket.socket(fileno=os.dup(3))
            send = lambda body: sock.sendall(struct.pack("<I", len(body)) + body)
{body}
"""

REFUSED = {
    "a name of 10 MB": 'self.ask("global_get", name="x" * (10 << 20))',
    "a node that is not there": 'self.ask("schedule_next_iter", node_ids=["node-9"], task="flood")',
    "a million nodes": 'self.ask("schedule_next_iter", node_ids=["node-9"] * 1000000, task="flood")',
    "a task that is not there": 'self.ask("schedule_next_iter", node_ids=None, task="x" * 1000)',
    "a dataset by path": 'self.ask("dataset", name="../../etc/passwd")',
    "a value that it was not shown": 'self.ask("fetch", ref=1 << 60)',
    "an iteration to come": 'self.ask("select", name="name", task=None, iteration=4000000000)',
}

ENDED = {
    "a frame of 4 GiB": 'sock.sendall(b"\\xff" * 64)',
    "a frame that is no JSON": 'send(b"{" * 1000)',
    "a message that does not exist": 'send(json.dumps({"op": "accept", "id": 1, "attempt": "at_1"}).encode())',
    "lists within lists": 'send(b"[" * (15 << 20))',
    "a publication without its value": 'send(json.dumps({"op": "result_add", "id": 1, "name": "x"}).encode())',
}


def run(request, body):
    """Run a flooding task beside an honest one, and return how the swarm ended."""
    if missing := lacking_kernel_feature(USERS[0]):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[USERS[0]])
    indented = "\n".join(" " * 12 + line for line in body.strip("\n").splitlines())
    manta.file("modules/flood.py", TASK.replace("{body}", indented))
    ended = manta("run", manta.swarm(SWARM), "--nodes", 1, limit_s=120)
    assert "panicked" not in ended.text and "TAKEN" not in ended.text, ended.text
    return ended


def test_what_may_not_be_asked_is_refused_in_words(request):
    asked = "\n".join(f"self.refused({what!r}, lambda: {call})" for what, call in REFUSED.items())
    ended = run(request, asked)
    assert ended.code == 0, ended.text
    for what in REFUSED:
        assert f"refused {what}: " in ended.text, f"{what} was not refused:\n{ended.text}"


@pytest.mark.parametrize("what", ENDED)
def test_what_no_task_sends_ends_that_attempt_and_no_other(request, what):
    ended = run(request, ENDED[what] + "\nsock.recv(1 << 20)\nimport time\ntime.sleep(600)")
    assert "ok on node-1" in ended.text, f"the honest task did not run:\n{ended.text}"
    assert "breaks the protocol" in ended.text, ended.text


def test_more_results_than_an_attempt_may_have_are_refused_and_the_rest_counts(request):
    body = """
for number in range(10000):
    self.world.results.add("n" * 240 + str(number), None)
self.refused("one more result", lambda: self.world.results.add("one more", None))
"""
    ended = run(request, body)
    assert ended.code == 0 and "refused one more result: " in ended.text, ended.text
    assert "ok on node-1" in ended.text, ended.text


def test_floods_of_stops_and_iterations_are_one_of_each(request):
    body = """
for _ in range(2000):
    self.world.schedule_next_iter(["node-1"] * 500, "flood")
    self.world.stop_swarm()
"""
    ended = run(request, body)
    assert ended.code == 0, ended.text
    assert "ok on node-1 in iteration 0" in ended.text and "iteration 1" not in ended.text, ended.text
