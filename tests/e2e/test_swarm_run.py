"""`swarm.run()` from Python: the same platform, as a child that lives no longer than its parent."""

import signal
import subprocess

from harness.manta import binary
from harness.processes import descendants
from harness.waiting import wait_until

PROGRAM = """
    from manta.apis import Module, Swarm, Task

    class Chain(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("shown", 0.5)
            self.ok = Task(Module("modules/{module}"{settings}), retries=0)
            self.collect = Task(Module("modules/collect.py"), method="any")

        def execute(self):
            return self.collect(self.ok())

    if __name__ == "__main__":
        run = Chain().run(nodes=2{data})
        print(run.status, run.ok, run.iterations, run.globals["shown"], run.globals["collected"])
"""


def start(manta, module="ok.py", settings="", data=""):
    """Start a Python program that runs a swarm."""
    path = manta.file("program.py", PROGRAM.format(module=module, settings=settings, data=data))
    return subprocess.Popen(
        [manta.environment["MANTA_PYTHON"], path],
        cwd=manta.work,
        env={**manta.environment, "MANTA_BINARY": str(binary()), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_tells_how_it_ended_and_gives_typed_values(manta):
    out, err = start(manta).communicate(timeout=60)
    assert out.splitlines()[-1] == "succeeded True 1 0.5 ['node-1', 'node-2']", out + err


def test_a_failed_run_is_no_success(manta):
    process = start(manta, module="crash.py")
    out, err = process.communicate(timeout=60)
    assert "the shapes differ" in out + err and "succeeded" not in out, out + err


def test_a_killed_parent_takes_everything_with_it(manta):
    gate = manta.work / "gate"
    gate.mkdir()
    settings = ', datasets=["gate"], isolation="strict"'  # so that a task is known by its command
    process = start(manta, module="gate.py", settings=settings, data=f', data="{gate}"')
    try:
        wait_until(30, lambda: None if tasks_of(process.pid) >= 2 else f"{tasks_of(process.pid)} tasks run")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def tasks_of(pid):
    """Return how many task processes are below a process."""
    return sum("boot.py" in process.command for process in descendants(pid))
