"""What takes more than its share is stopped, and told apart from a mistake; the rest of the machine notices nothing."""

import pytest

from harness.api import of_kind
from harness.containment import FIXTURES, FULL, REDUCED, USERS, lacking_kernel_feature

SWARM = """
    class Limited(Swarm):
        def __init__(self):
            super().__init__()
            self.greedy = Task(Module("modules/greedy.py", resources={resources!r}), retries=0{options})

        def execute(self):
            return self.greedy()
"""

TASK = """
    import os, tempfile, time
    from manta.light.task import Task

    class Greedy(Task):
        def run(self):
{body}
"""


def run(request, user, body, resources, *arguments, options=""):
    """Run a task under limits, and return how it ended."""
    if missing := lacking_kernel_feature(user):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[user])
    indented = "\n".join(" " * 12 + line for line in body.strip("\n").splitlines())
    manta.file("modules/greedy.py", TASK.format(body=indented))
    swarm = manta.swarm(SWARM.format(resources=resources, options=options))
    manta.give_to_user()
    return manta("run", swarm, "--nodes", 1, *arguments)


@pytest.mark.parametrize("user", USERS)
def test_a_memory_hog_is_a_resource_limit(request, user):
    body = "hoard = []\nwhile True:\n    hoard.append(bytearray(8 << 20))"
    ended = run(request, user, body, {"memory": "128MiB"}, "--json")
    assert ended.code == 1, ended.text
    (failure,) = ended.documents()[0]["failures"]
    assert failure["class"] == "resource_limit", failure
    assert "memory" in failure["message"] and "128" in failure["message"], failure
    reached, used = failure["reached"], failure["usage"]
    assert (reached["limit"], reached["value"], reached["unit"]) == ("memory", 128 << 20, "bytes"), reached
    assert failure["limits"]["memory_bytes"] == 128 << 20 and failure["limits"]["pids"] == 256, failure
    assert used["cpu_ms"] > 0 and 32 << 20 < used["memory_bytes_peak"] < 192 << 20, used


@pytest.mark.skipif(FULL not in USERS, reason="needs control groups, which root has")
def test_a_task_is_told_before_its_memory_is_used_up_and_can_go_on(request):
    body = """
from manta.light import ResourceExhaustionError
hoard = []
try:
    while True:
        hoard.append(bytearray(1 << 20))
        time.sleep(0.01)
except ResourceExhaustionError as error:
    used = len(hoard)
    hoard.clear()
    self.logger.info("told at %d: %s", used, error)
"""
    ended = run(request, FULL, body, {"memory": "128MiB"})
    assert ended.code == 0, ended.text
    assert "told at " in ended.text and "90% of its memory limit of 128 MiB" in ended.text, ended.text


@pytest.mark.parametrize("user", USERS)
def test_a_full_scratch_is_a_resource_limit_with_its_figure(request, user):
    body = """
with tempfile.TemporaryFile(buffering=0) as file:
    while True:
        file.write(bytes(1 << 20))
"""
    ended = run(request, user, body, {"tmp": "16MiB"}, "--json")
    assert ended.code == 1, ended.text
    (failure,) = ended.documents()[0]["failures"]
    assert failure["class"] == "resource_limit", failure
    assert "its scratch is full at its limit of 16 MiB" in failure["message"], failure
    assert failure["reached"] == {"limit": "scratch", "value": 16 << 20, "unit": "bytes"}, failure


@pytest.mark.skipif(FULL not in USERS, reason="needs control groups, which root has")
def test_too_many_results_are_a_resource_limit_and_only_the_last_are_kept(request):
    body = """
for number in range(10_001):
    self.world.results.add(f"r{number}", number)
"""
    ended = run(request, FULL, body, {}, "--json")
    assert ended.code == 1, ended.text
    document = ended.documents()[0]
    (failure,) = document["failures"]
    assert failure["reached"] == {"limit": "results", "value": 10_000, "unit": "names"}, failure
    (failed,) = of_kind(document["events"], "attempt_failed")
    assert [result["name"] for result in failed["results"]] == [f"r{number}" for number in range(9_900, 10_000)]
    assert any("9900 of the 10000 results are not kept" in line for line in failure["log_tail"]), failure["log_tail"]


@pytest.mark.parametrize("user", USERS)
def test_a_fork_bomb_stays_within_its_processes(request, user):
    body = """
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        made += 1
except OSError as error:
    self.logger.info("stopped after %d: %s", made, error.strerror)
assert made < 64, made
"""
    ended = run(request, user, body, {"pids": 48})
    assert "stopped after" in ended.text, ended.text


@pytest.mark.parametrize("user", USERS)
def test_what_runs_on_in_the_background_ends_with_the_attempt(request, user):
    body = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(4):
            try:
                os.close(number)
            except OSError:
                pass
        time.sleep(600)
    os._exit(0)
self.logger.info("left a process behind")
"""
    ended = run(request, user, body, {})
    assert ended.code == 0 and "left a process behind" in ended.text, ended.text


# Without namespaces there is no file system of the task's own that could be full.
@pytest.mark.parametrize("user", [user for user in USERS if user != REDUCED])
def test_scratch_space_is_bounded(request, user):
    body = """
try:
    with tempfile.TemporaryFile() as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
except OSError as error:
    self.logger.info("full: %s", error.strerror)
"""
    ended = run(request, user, body, {"tmp": "16MiB"})
    assert "full: " in ended.text, ended.text


@pytest.mark.parametrize("user", USERS)
def test_a_timeout_ends_a_task_that_ignores_signals(request, user):
    body = """
import signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
time.sleep(600)
"""
    ended = run(request, user, body, {}, options=", timeout=1")
    assert ended.code == 1 and "timeout" in ended.text.lower(), ended.text


@pytest.mark.parametrize("user", USERS)
def test_garbage_on_the_platforms_socket_ends_only_the_attempt(request, user):
    body = 'os.write(3, b"\\\\xff" * 4096)\ntime.sleep(600)'
    ended = run(request, user, body, {})
    assert ended.code == 1, ended.text
    assert "panicked" not in ended.text, ended.text


@pytest.mark.parametrize("user", USERS)
def test_a_dataset_for_its_owner_alone_can_be_read_and_not_written(request, user):
    if missing := lacking_kernel_feature(user):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[user])
    data = manta.file("private.csv", "a\n1\n")
    manta.file(
        "modules/reads.py",
        """
        from manta.light.task import Task

        class Reads(Task):
            def run(self):
                path = self.local.get_dataset("private").path
                self.logger.info("read %r", path.read_text())
                for mode in ("w", "a", "r+"):
                    try:
                        open(path, mode)
                    except OSError as error:
                        self.logger.info("denied %s: %s", mode, error.strerror)
        """,
    )
    body = SWARM.replace("greedy.py", "reads.py").replace("resources={resources!r}", 'datasets=["private"]')
    swarm = manta.swarm(body.format(options=""))
    manta.give_to_user()
    data.chmod(0o600)
    ended = manta("run", swarm, "--nodes", 1, "--data", f"private={data}")
    assert ended.code == 0 and "read 'a\\n1\\n'" in ended.text, ended.text
    assert ended.text.count("denied ") == 3, ended.text
