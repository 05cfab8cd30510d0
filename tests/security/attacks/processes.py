"""Sees, signals or reads other processes."""

import ctypes
import os
import signal
from pathlib import Path

PTRACE_ATTACH = 16
SYS_PTRACE, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 101, 434, 438


def attempts(data, host):
    own = {os.getpid(), os.getppid()}
    for name, pid in host["pids"].items():
        yield f"a signal to {name}", lambda pid=pid: os.kill(pid, 0)
        yield f"a kill of {name}", lambda pid=pid: os.kill(pid, signal.SIGKILL)
        yield f"the command line of {name}", lambda pid=pid: Path(f"/proc/{pid}/cmdline").read_bytes() or nothing()
        yield f"the environment of {name}", lambda pid=pid: Path(f"/proc/{pid}/environ").read_bytes() or nothing()
        yield f"tracing {name}", lambda pid=pid: system(SYS_PTRACE, PTRACE_ATTACH, pid, 0, 0)
        yield f"a signal by a handle on {name}", lambda pid=pid: signal_by_handle(pid)
        yield f"a descriptor of {name}", lambda pid=pid: system(SYS_PIDFD_GETFD, system(SYS_PIDFD_OPEN, pid, 0), 0, 0)
    yield "the agent's memory", lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)
    yield "other processes in /proc", lambda: others(own)


def signal_by_handle(pid):
    signal.pidfd_send_signal(system(SYS_PIDFD_OPEN, pid, 0), 0)


def nothing():
    raise PermissionError("empty")


def others(own):
    """Return a process that is neither the task nor its init."""
    shown = {int(name) for name in os.listdir("/proc") if name.isdigit()} - own - {1, os.getpid()}
    if not shown:
        raise ProcessLookupError("none")
    return {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in shown}


def system(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(*(ctypes.c_long(number) for number in arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer
