"""Signals, traces, slows down or limits processes of others: of the host, of the same user, of another attempt."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable

from .calls import LIBC, call, checked
from .probe import Absent, Group, Stage

GROUP = Group("processes", denied=("ESRCH", "EPERM", "EACCES", "EINVAL"))

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
IOPRIO_WHO_PROCESS = 1
F_SETSIG = 10


def by_handle(pid: int, send: int) -> int:
    """Signal by a descriptor of the process."""
    return call("pidfd_send_signal", call("pidfd_open", pid, 0), send, 0, 0)


def queued(pid: int) -> int:
    """Queue a signal with a value: the number 0 only asks whether one may."""
    return call("rt_sigqueueinfo", pid, 0, ctypes.create_string_buffer(struct.pack("3i", 0, 0, -1) + bytes(116), 128))


def seized(pid: int) -> str:
    """Trace a process for a moment."""
    call("ptrace", PTRACE_SEIZE, pid, 0, 0)
    LIBC.ptrace(PTRACE_DETACH, pid, 0, 0)
    return "seized"


def remembered(pid: int) -> int:
    """Read a word of a process's memory."""
    own = ctypes.create_string_buffer(8)
    part = struct.pack("2Q", ctypes.addressof(own), 8)
    return call("process_vm_readv", pid, part, 1, part, 1, 0) or 8


def limits(pid: int) -> object:
    """Read the limits of a process, and set them to the same."""
    now = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, now)


def same_priority(pid: int) -> object:
    """Set a process's priority to what it is."""
    return os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


def same_input_priority(pid: int) -> int:
    """Set a process's priority for input and output to what it is."""
    return call("ioprio_set", IOPRIO_WHO_PROCESS, pid, call("ioprio_get", IOPRIO_WHO_PROCESS, pid))


ATTEMPTS: dict[str, Callable[[int], object]] = {
    "signal": lambda pid: os.kill(pid, 0),
    "signal the first thread of": lambda pid: call("tgkill", pid, pid, 0),
    "queue a signal to": queued,
    "signal by a handle": lambda pid: by_handle(pid, 0),
    "trace": seized,
    "read the memory of": remembered,
    "take a descriptor of": lambda pid: call("pidfd_getfd", call("pidfd_open", pid, 0), 0, 0),
    "limit": limits,
    "slow down": same_priority,
    "slow down the input of": same_input_priority,
    "bind to processors": lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(pid)),
    "schedule otherwise": lambda pid: os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0)),
    "find the locks of": lambda pid: call("get_robust_list", pid, bytes(8), bytes(8)),
    "reap the memory of": lambda pid: call("process_mrelease", call("pidfd_open", pid, 0), 0),
}
"""What is tried on other processes; it changes nothing where it succeeds."""

REACHED = {"reap the memory of": ("ESRCH", "EPERM", "EACCES")}
"""Answers that would not show that it was denied."""

for verb, attempt in ATTEMPTS.items():
    denied = REACHED.get(verb, GROUP.defaults["denied"])
    for whom, target in (
        ("a process of the host", "process"),
        ("another attempt", "neighbour"),
        ("the agent", "agent"),
    ):
        GROUP.add(
            f"{verb} {whom}",
            lambda stage, attempt=attempt, target=target: attempt(getattr(stage, target)),
            denied=denied,
            needs=(target,),
        )

GROUP.add("signal the process group of the host", lambda stage: os.killpg(stage.process, 0), needs=("process",))
GROUP.add("slow down every process of a user", lambda stage: of_user(), denied=("EPERM",), tiers=("reduced",))


def of_user() -> str:
    """Set the priority of all processes of a user that has none."""
    os.setpriority(os.PRIO_USER, 4294967, 19)
    return "all of them"


@GROUP.probe(
    "have a process of the host signalled by a descriptor",
    needs=("process",),
    heard="signal",
    denied=("ESRCH", "EPERM", "absent"),
)
def by_descriptor(stage: Stage) -> str:
    one, other = socket.socketpair()
    checked(LIBC.fcntl(one.fileno(), F_SETSIG, int(signal.SIGUSR1)))
    fcntl.fcntl(one, fcntl.F_SETOWN, stage.process)
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")
    # Whether it arrived is for its receiver to say.
    raise Absent("nothing was refused, and nothing is known")
