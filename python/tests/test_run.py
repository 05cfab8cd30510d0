"""``swarm.run()``: the program is found, given the trace, and ends with this process."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import manta
from manta.apis import AuthoringError, Module, Run, Swarm, Task
from manta.light.errors import GlobalNotFound, MantaError


class Small(Swarm):
    def __init__(self, module: Path) -> None:
        self.worker = Task(Module(module))
        self.set_global("rate", 1)


@pytest.fixture
def swarm(tmp_path: Path) -> Small:
    """Make a swarm of one module."""
    (tmp_path / "worker.py").write_text("def main(): pass\n")
    return Small(tmp_path / "worker.py")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a Python program in the place of the ``manta`` binary."""

    def write(code: str) -> Path:
        # By way of a shell: the first line of a script holds no path with spaces.
        script, path = tmp_path / "stand_in.py", tmp_path / "manta"
        script.write_text(f"import json, os, sys\n{textwrap.dedent(code)}")
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv("MANTA_BINARY", str(path))
        return path

    return write


ECHO = """
    options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    traced = sys.argv[sys.argv.index("--traced") + 1]
    trace = json.load(open(os.path.join(traced, "trace.json")))
    out = sys.argv[sys.argv.index("--out") + 1]
    os.mkdir(out)
    os.rename(os.path.join(traced, trace["globals"][0]["file"]), os.path.join(out, "g"))
    print("starting")
    told = {"name": "rate", "summary": "1", "file": os.path.join(out, "g")}
    result = {**told, "iteration": 1, "task": trace["tasks"][0]["alias"], "node": "node-1", "accepted": True}
    print(json.dumps({"status": "succeeded", "reason": "it ended", "iterations": [{}, {}], "globals": [told],
                      "results": [result], "argv": sys.argv[1:]}))
"""


def options_of(run: Run) -> list[str]:
    """Return the options behind those that every run has."""
    argv: list[str] = run.document["argv"]
    assert argv[:2] == ["run", "--traced"] and argv[3:6:2] == ["--owned-dir", "--out"]
    assert argv[7:11] == ["--lifeline", "--json", "--python", sys.executable]
    return argv[11:]


def test_the_program_gets_the_trace_and_its_document_becomes_a_run(program: Any, swarm: Small) -> None:
    program(ECHO)
    run = swarm.run(nodes=3, data="data")
    assert (run.status, run.ok, run.iterations, run.reason) == ("succeeded", True, 2, "it ended")
    assert options_of(run) == ["--nodes", "3", "--data", os.path.abspath("data")]
    result = run.results[0]
    assert (result.name, result.task, result.node, result.iteration) == ("rate", "worker", "node-1", 1)
    assert result.value == 1 and dict(run.globals) == {"rate": 1}
    with pytest.raises(GlobalNotFound, match='did you mean "rate"'):
        run.globals["rat"]


def test_the_values_are_kept_on_disk_as_long_as_the_run_lives(program: Any, swarm: Small) -> None:
    program(ECHO)
    run = swarm.run()
    directory = Path(run.document["argv"][6])
    assert directory.is_dir()
    del run
    assert not directory.exists()


def test_nodes_with_labels_and_data_for_each_node_are_passed_on(program: Any, swarm: Small) -> None:
    program(ECHO)
    run = swarm.run(
        nodes={"a": {"zone": "eu", "disk": "ssd"}, "b": {}}, data={"a": "/x", "b": {"d": "/y"}}, args=["-q"]
    )
    assert options_of(run) == [
        *["--node", "a:zone=eu,disk=ssd", "--node", "b"],
        *["--data", "a:=/x", "--data", "b:d=/y", "-q"],
    ]
    assert options_of(swarm.run(2, ["/x", "/y"]))[2:] == ["--data", "node-1:=/x", "--data", "node-2:=/y"]


def test_a_failed_swarm_is_a_run_and_a_refused_one_an_error(program: Any, swarm: Small) -> None:
    program('print(json.dumps({"status": "failed", "error": {"message": "no"}})); sys.exit(1)')
    assert not swarm.run().ok
    program("""
        error = {"code": "MANTA-0201", "message": "no node", "hint": "add one"}
        print(json.dumps({"status": "error", "error": error})); sys.exit(4)
    """)
    with pytest.raises(MantaError, match="no node") as caught:
        swarm.run()
    assert (caught.value.code, caught.value.hint) == ("MANTA-0201", "add one")
    program("sys.exit(5)")
    with pytest.raises(MantaError, match="exit code 5"):
        swarm.run()


def test_arguments_of_run_are_checked(program: Any, swarm: Small) -> None:
    program(ECHO)
    bad: dict[str, Any]
    for bad in ({"nodes": 0}, {"nodes": "4"}, {"nodes": {"a": 3}}, {"data": 3}, {"data": ["/x"]}, {"data": {"a": 3}}):
        with pytest.raises(AuthoringError):
            swarm.run(**bad)


def test_a_missing_program_is_told_with_where_it_was_looked_for(
    swarm: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_BINARY", str(tmp_path / "none"))
    with pytest.raises(AuthoringError, match="MANTA_BINARY"):
        swarm.run()
    monkeypatch.delenv("MANTA_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(AuthoringError, match="nor on PATH") as caught:
        swarm.run()
    assert caught.value.code == "MANTA-0112"
    (tmp_path / "manta").write_text(f"#!/bin/sh\necho '{json.dumps({'status': 'succeeded'})}'\n")
    (tmp_path / "manta").chmod(0o755)
    assert swarm.run().ok


def test_a_swarm_that_takes_too_long_is_given_up(program: Any, swarm: Small) -> None:
    program("sys.stdin.read()")
    with pytest.raises(TimeoutError):
        swarm.run(timeout=0.2)


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from manta.apis import Module, Swarm, Task
class Small(Swarm):
    def __init__(self):
        self.worker = Task(Module(sys.argv[2]))
Small().run()
"""


def test_the_program_ends_when_this_process_is_killed(program: Any, swarm: Small, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    program(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); sys.stdin.read()")
    root, module = str(Path(manta.__file__).parents[1]), str(tmp_path / "worker.py")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, root, module])
    child = os.pidfd_open(int((tmp_path / "pid").read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert select.select([child], [], [], 30)[0], "the program outlived its parent"
    os.close(child)
