"""Proves that a test left nothing behind: no process, mount, namespace, control group or file."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .processes import all_processes, carries, descendants, kill, read_process, reap
from .waiting import TimedOut, wait_until

TEST_VARIABLE = "MANTA_TEST_ID"
"""Every process that a test starts carries the test's id in this environment variable."""

SETTLE_S = 8.0
"""The longest that what was killed may take to be gone; what ended in an orderly way is gone at once."""

NAMESPACES = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup")


@dataclass
class Leaks:
    """Everything found that was not there before, each as a sentence."""

    processes: list = field(default_factory=list)
    namespaces: list = field(default_factory=list)
    mounts: list = field(default_factory=list)
    cgroups: list = field(default_factory=list)
    files: list = field(default_factory=list)

    def sentences(self):
        """Return all of them."""
        return [str(leak) for kind in vars(self).values() for leak in kind]


class LeakChecker:
    """Remembers what is there when it is made, and tells what is there besides when asked.

    Parameters
    ----------
    test_id : str
        What the test's processes carry in ``MANTA_TEST_ID``.
    places : list of Path
        Directories of the test's own, in which nothing of ours may be left.
    shared : list of Path
        Directories of the machine, in which nothing of ours may be left either. What is there cannot be told
        apart from the files of other runs, so it is looked at only while no other runs.
    """

    def __init__(self, test_id, places, shared=()):
        self._test_id = test_id
        self._places = places
        self._shared = shared
        self._processes = {(process.pid, process.started) for process in self._ours()}
        self._mounts = set(_mounts())
        self._cgroups = set(_cgroups())
        self._files = set(_files([*places, *shared]))

    def leaks(self):
        """Return what is there now and was not before."""
        found = Leaks()
        for process in self._ours():
            if (process.pid, process.started) in self._processes:
                continue
            if process.state == "Z":
                reap(process)
                continue
            found.processes.append(process)
            found.namespaces += _foreign_namespaces(process.pid)
        found.mounts = [f"mount {mount}" for mount in sorted(set(_mounts()) - self._mounts)]
        new = sorted(set(_cgroups()) - self._cgroups)
        found.cgroups = [f"control group {path}" for path in new if not _belongs_to_others(path, found.processes)]
        ours = self._ours()
        places = self._places if _others_run(ours) else [*self._places, *self._shared]
        new = sorted(set(_files(places)) - self._files)
        found.files = [f"file {path}" for path in new if not _used_by_others(path, ours)]
        return found

    def check(self, limit_s=SETTLE_S):
        """Wait until nothing is left.

        Raises
        ------
        AssertionError
            If something stays; names all of it.
        """

        def look():
            left = self.leaks().sentences()
            return "left behind: " + "; ".join(left) if left else None

        try:
            wait_until(limit_s, look)
        except TimedOut as late:
            raise AssertionError(str(late)) from None

    def clean(self):
        """End and remove what is left, so that one test's leak is not the next one's; files stay to be looked at."""
        left = self.leaks()
        for process in left.processes:
            kill(process)
        for mount in left.mounts:
            subprocess.run(["umount", "--lazy", mount.removeprefix("mount ")], check=False, stderr=subprocess.DEVNULL)
        wait_until(SETTLE_S, lambda: None if not self.leaks().processes else "processes do not die")
        for path in sorted(self.leaks().cgroups, reverse=True):
            try:
                os.rmdir(path.removeprefix("control group "))
            except OSError:
                pass

    def _ours(self):
        processes = all_processes()
        ours = {process.pid: process for process in descendants(os.getpid(), processes)}
        for pid, process in processes.items():
            if carries(pid, TEST_VARIABLE, self._test_id):
                ours[pid] = process
        return list(ours.values())


def _foreign_namespaces(pid):
    found = []
    for kind in NAMESPACES:
        try:
            name = os.readlink(f"/proc/{pid}/ns/{kind}")
            if name != os.readlink(f"/proc/self/ns/{kind}"):
                found.append(f"namespace {name} held by process {pid}")
        except OSError:
            continue
    return found


def _mounts():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split(" ")[4].encode().decode("unicode_escape")


def _cgroups():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] not in ("cgroup", "cgroup2"):
            continue
        for directory, children, _ in os.walk(before.split(" ")[4]):
            yield from (os.path.join(directory, name) for name in children if "manta" in name)
            if os.path.basename(directory) == "manta":
                yield from (os.path.join(directory, name) for name in children)


def _belongs_to_others(path, ours):
    """Whether another program uses the control group: its directory names a living launcher, or it has members."""
    ours = {process.pid for process in ours}
    for directory, children, _ in os.walk(path):
        for name in (os.path.basename(directory), *children):
            owner = name.split("-")
            if len(owner) == 3 and all(part.isdigit() for part in owner):
                launcher = read_process(int(owner[0]))
                lives = launcher and launcher.started == int(owner[1]) and launcher.state != "Z"
                if lives and launcher.pid not in ours:
                    return True
        try:
            members = {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
        except OSError:
            continue
        if members - ours:
            return True
    return False


def _others_run(ours):
    """Whether programs of another run of Manta or of its tests are here: those leave files in the same places."""
    ours = {process.pid for process in ours} | {os.getpid()}
    return any(
        carries(pid, TEST_VARIABLE) or _program(pid).startswith("manta")
        for pid, process in all_processes().items()
        if pid not in ours and process.state != "Z"
    )


def _program(pid):
    """Return the name of the file that a process runs, or nothing."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def _used_by_others(path, ours):
    """Whether a process that is not ours holds something open there, or was started with the path."""
    ours = {process.pid for process in ours} | {os.getpid()}
    for pid, process in all_processes().items():
        if pid in ours:
            continue
        try:
            held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            held = []
        if path in process.command or any(target.startswith(path) for target in held):
            return True
    return False


def _files(places):
    for place in places:
        try:
            yield from (str(entry) for entry in Path(place).iterdir() if "manta" in entry.name)
        except (FileNotFoundError, PermissionError):
            continue
