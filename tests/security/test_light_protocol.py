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
    import array, fcntl, json, os, socket, struct
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

        def ask(self, name, fds=(), **fields):
            return _attempt.current("flood").request(name, fds=fds, **fields)

        def memory(self, seals):
            fd = os.memfd_create("value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(fd, b"a value")
            fcntl.fcntl(fd, 1033, seals)
            return fd

        def run(self):
            sock = socket.socket(fileno=os.dup(3))
            send = lambda body: sock.sendall(struct.pack("<I", len(body)) + body)

            def carry(message, fds):
                body = json.dumps(message).encode()
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                sock.sendmsg([struct.pack("<I", len(body)) + body], [rights])

{body}
"""

REFUSED = {
    "a name of 10 MB": 'self.ask("global_get", name="x" * (10 << 20))',
    "a node that is not there": 'self.ask("schedule_next_iter", node_ids=["node-9"], task="flood")',
    "a million nodes": 'self.ask("schedule_next_iter", node_ids=["node-9"] * 1000000, task="flood")',
    "a task that is not there": 'self.ask("schedule_next_iter", node_ids=None, task="x" * 1000)',
    "a dataset by path": 'self.ask("dataset", name="../../etc/passwd")',
    "a value that it was not shown": 'self.ask("fetch", ref=1 << 60)',
    "a name that moves the cursor": 'self.ask("result_add", [self.memory(0xE)], name="\\x1b[2Jx")',
    "a name of two lines": 'self.ask("state_set", [self.memory(0xE)], name="a\\nb")',
    "memory that can still change": 'self.ask("result_add", [self.memory(0x6)], name="x")',
    "its own socket as a value": 'self.ask("result_add", [3], name="x")',
    "a device as a value": 'self.ask("result_add", [os.open("/dev/zero", os.O_RDWR)], name="x")',
    "a directory as a value": 'self.ask("global_set", [os.open("/tmp", os.O_RDONLY)], name="x")',
    "a pipe as a value": 'self.ask("state_set", [os.pipe()[0]], name="x")',
    "an iteration to come": 'self.ask("select", name="name", task=None, iteration=4000000000)',
}

ENDED = {
    "a frame of 4 GiB": 'sock.sendall(b"\\xff" * 64)',
    "a frame that is no JSON": 'send(b"{" * 1000)',
    "a message that does not exist": 'send(json.dumps({"op": "accept", "id": 1, "attempt": "at_1"}).encode())',
    "lists within lists": 'send(b"[" * (15 << 20))',
    "a descriptor that nobody asked for": 'carry({"op": "hello", "id": 1}, [3])',
    "more descriptors than one": 'carry({"op": "result_add", "id": 1, "name": "x"}, [0, 1, 2])',
    "a number as an operation": 'send(b"{\\"op\\": 7, \\"id\\": 1}")',
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


def test_metrics_that_are_too_large_for_the_manager_cost_the_node_nothing(request):
    body = """
values = {f"metric-{number:05}-{'x' * 80}": 1.0 for number in range(30000)}
for _ in range(5):
    _attempt.current("flood").notify("metrics", values=values, step=None)
"""
    ended = run(request, body)
    assert ended.code == 0 and "metrics line of" in ended.text and "is not kept" in ended.text, ended.text
    assert "ok on node-1" in ended.text, ended.text


def test_questions_that_are_refused_cost_whoever_asks_them(request):
    body = """
import time
begun = time.monotonic()
for number in range(300):
    try:
        self.ask("schedule_next_iter", node_ids=[f"node-{number}-{'9' * 200}"], task="flood")
    except Exception as error:
        assert "node-" in str(error), error
self.logger.info("took %.1f s", time.monotonic() - begun)
"""
    ended = run(request, body)
    assert ended.code == 0, ended.text
    took = float(ended.text.split("took ")[1].split(" s")[0])
    assert took > 1.5, f"300 refusals took {took} s, and 100 are let through in a second"
