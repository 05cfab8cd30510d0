"""The leak checker itself: it fails on everything that it is there to find."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from harness import leaks
from harness.leaks import TEST_VARIABLE, LeakChecker
from harness.processes import all_processes
from harness.waiting import wait_until

SLEEP = ["sleep", "300"]
UNSEEN_ORPHAN = """
import os, subprocess
subprocess.Popen(["sleep", "300"], env={}, start_new_session=True)
"""


@pytest.fixture
def inner(test_root):
    """A leak checker of its own, so that its findings are not the test's; what it finds is removed afterwards."""
    (test_root / "place").mkdir()
    checker = LeakChecker(f"inner{uuid.uuid4().hex}", [test_root / "place"])
    yield checker
    checker.clean()


def fails_on(checker, *parts):
    """Check that the checker complains, and names what is left."""
    with pytest.raises(AssertionError) as error:
        checker.check(limit_s=0.3)
    for part in parts:
        assert part in str(error.value)


def test_nothing_left_is_no_leak(inner):
    inner.check()


def test_a_left_process_is_found(inner):
    process = subprocess.Popen(SLEEP, start_new_session=True)
    fails_on(inner, f"process {process.pid} (sleep 300")
    inner.clean()
    process.wait()
    inner.check()


def test_a_process_that_lost_its_parent_and_its_environment_is_found(inner):
    subprocess.run([sys.executable, "-c", UNSEEN_ORPHAN], check=True)
    fails_on(inner, "(sleep 300")
    inner.clean()
    inner.check()


def test_a_tagged_process_is_found_whoever_its_parent_is(test_root):
    test_id = f"inner{uuid.uuid4().hex}"
    process = subprocess.Popen(SLEEP, env={TEST_VARIABLE: test_id})
    try:
        wait_until(5, lambda: None if "sleep" in all_processes()[process.pid].command else "not started")
        checker = LeakChecker("another", [])
        checker._test_id = test_id
        checker._processes.clear()
        assert any(found.pid == process.pid for found in checker.leaks().processes)
    finally:
        process.kill()
        process.wait()


def test_a_held_namespace_is_named_with_its_holder(inner):
    process = subprocess.Popen(["unshare", "--user", *SLEEP])
    wait_until(5, lambda: None if all_processes()[process.pid].command == "sleep 300" else "not unshared yet")
    fails_on(inner, "namespace user:[", f"held by process {process.pid}")
    inner.clean()
    process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_left_mount_is_found(inner, test_root):
    place = test_root / "mounted here"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    fails_on(inner, f"mount {place}")
    subprocess.run(["umount", place], check=True)
    inner.check()


def test_a_left_control_group_is_found(inner):
    group = writable_control_group() / "manta-leak-of-a-test"
    group.mkdir()
    fails_on(inner, f"control group {group}")
    inner.clean()
    assert not group.exists()
    inner.check()


def test_a_left_file_is_found(inner, test_root):
    left = test_root / "place" / "manta-left.sock"
    left.write_text("")
    fails_on(inner, f"file {left}")
    left.unlink()
    inner.check()


@pytest.mark.parametrize("others, found", [(False, 1), (True, 0)])
def test_a_file_in_a_shared_place_is_ours_while_no_other_run_is_here(test_root, monkeypatch, others, found):
    (test_root / "shared").mkdir()
    checker = LeakChecker(f"inner{uuid.uuid4().hex}", [], [test_root / "shared"])
    (test_root / "shared" / "manta-left.sock").write_text("")
    monkeypatch.setattr(leaks, "_others_run", lambda ours: others)
    assert len(checker.leaks().files) == found


@pytest.mark.parametrize("environment, expected", [({TEST_VARIABLE: "another"}, True), ({}, False)])
def test_a_run_beside_is_known_by_what_its_processes_carry(monkeypatch, environment, expected):
    process = subprocess.Popen(SLEEP, env=environment)
    try:
        wait_until(5, lambda: None if "sleep" in all_processes()[process.pid].command else "not started")
        only = {process.pid: all_processes()[process.pid]}
        monkeypatch.setattr(leaks, "all_processes", lambda: only)
        assert leaks._others_run([]) is expected
        assert not leaks._others_run(list(only.values()))
    finally:
        process.kill()
        process.wait()


def test_a_file_that_another_program_uses_is_not_ours(inner, test_root):
    used = test_root / "place" / "manta-of-another"
    program = f"import time; file = open({str(used)!r}, 'w'); print(flush=True); time.sleep(300)"
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env={})
    try:
        other.stdout.readline()
        inner._processes |= {(found.pid, found.started) for found in all_processes().values()}
        inner._ours = list
        inner.check()
    finally:
        other.kill()
        other.communicate()
        del inner._ours
    fails_on(inner, f"file {used}")
    used.unlink()


def writable_control_group():
    """Return the directory of a hierarchy in which this user may make groups."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        directory = before.split(" ")[4]
        if after.startswith("cgroup") and os.access(directory, os.W_OK) and "memory" in after:
            return Path(directory)
    pytest.skip("no control group hierarchy with the memory controller is writable here")
