"""What can be told about processes from ``/proc``."""

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Process:
    """One process, identified for as long as the machine runs by its pid and its start."""

    pid: int
    started: int
    parent: int
    state: str
    command: str

    def __str__(self):
        return f"process {self.pid} ({self.command or 'no command line'}, state {self.state})"


def adopt_orphans():
    """Make orphaned descendants children of this process, so that none can hide by losing its parent."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def all_processes():
    """Return every process of the machine by its pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := read_process(int(entry.name))) is not None:
            found[process.pid] = process
    return found


def read_process(pid):
    """Return the process with that pid, or None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        command = b""
    fields = stat.rpartition(")")[2].split()
    text = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return Process(pid, int(fields[19]), int(fields[1]), fields[0], text)


def descendants(pid, processes=None):
    """Return the processes below ``pid``, itself not among them."""
    processes = all_processes() if processes is None else processes
    children = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child.pid)
    return found


def carries(pid, variable, value=""):
    """Return whether the process was started with the environment variable, and with that value if one is given."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    wanted = f"{variable}={value}".encode()
    return any(entry == wanted if value else entry.startswith(wanted) for entry in environ.split(b"\0"))


def reap(process):
    """Take an orphan's exit status, so that it does not stay a zombie."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        pass


def kill(process):
    """End a process that should not be there."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
