"""Gains a privilege, or finds one that was left: users, groups, capabilities, priorities, limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from pathlib import Path

from .calls import call
from .probe import Absent, Group, Stage, absent

GROUP = Group("privileges", denied=("EPERM", "EINVAL"))

CAPABILITY_VERSION_3 = 0x20080522
IOPRIO_WHO_PROCESS, IOPRIO_REALTIME = 1, 1 << 13
PR_GET_SECCOMP, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET = 21, 23, 39, 47, 1

GROUP.add("become root", lambda stage: os.setuid(0))
GROUP.add("become root in parts", lambda stage: os.setresuid(0, 0, 0))
GROUP.add("become somebody", lambda stage: os.setuid(4711))
GROUP.add("join root's group", lambda stage: os.setgid(0))
GROUP.add("join a group", lambda stage: os.setgid(4711))
GROUP.add("join further groups", lambda stage: os.setgroups([0]))
GROUP.add("take every capability", lambda stage: capabilities(0xFFFFFFFF))
GROUP.add("take a higher priority", lambda stage: os.nice(-5), denied=("EPERM", "EACCES"))
GROUP.add("run before all others", lambda stage: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
GROUP.add("run in turns before all others", lambda stage: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)))
GROUP.add("run before deadlines", lambda stage: deadlines())
GROUP.add("read and write before all others", lambda stage: call("ioprio_set", IOPRIO_WHO_PROCESS, 0, IOPRIO_REALTIME))
for limit in ("NOFILE", "NPROC", "CORE", "DATA", "STACK", "MEMLOCK", "RTPRIO", "NICE", "SIGPENDING", "MSGQUEUE"):
    GROUP.add(
        f"raise the limit {limit}", lambda stage, limit=limit: raised(limit), denied=("EPERM", "ValueError", "absent")
    )
GROUP.add(
    "leave a core",
    lambda stage: absent(resource.getrlimit(resource.RLIMIT_CORE)[1], "none is written"),
    denied=("absent",),
)


def held() -> dict[str, int]:
    """Return the capabilities of this process as the kernel tells them, of the first 32."""
    sets = ctypes.create_string_buffer(24)
    call("capget", struct.pack("Ii", CAPABILITY_VERSION_3, 0), sets)
    return dict(zip(("effective", "permitted", "inheritable"), struct.unpack("6I", sets.raw)))


def flag(option: int, *arguments: int) -> int:
    """Return a setting of this process."""
    return call("prctl", option, *arguments, *[0] * (4 - len(arguments)))


def ignored() -> list[int]:
    """Return the signals that are ignored, but for those that the interpreter ignores itself."""
    found = []
    for number in set(range(1, 65)) - {signal.SIGPIPE, signal.SIGXFSZ}:
        action = ctypes.create_string_buffer(32)
        call("rt_sigaction", number, 0, action, 8)
        if struct.unpack_from("Q", action)[0] == 1:
            found.append(number)
    return found


for kind in ("effective", "permitted", "inheritable"):
    GROUP.add(f"hold {kind} capabilities", lambda stage, kind=kind: absent(held()[kind], "none"), denied=("absent",))
GROUP.add(
    "hold ambient capabilities",
    lambda stage: absent(
        [number for number in range(32) if flag(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number)], "none"
    ),
    denied=("absent",),
)
GROUP.add("inherit ignored signals", lambda stage: absent(ignored(), "none"), denied=("absent",))
GROUP.add(
    "inherit blocked signals",
    lambda stage: absent(signal.pthread_sigmask(signal.SIG_BLOCK, []), "none"),
    denied=("absent",),
)


@GROUP.probe("hold capabilities that programs may gain", denied=("absent",))
def bounding(stage: Stage) -> list[int]:
    # Who holds none and may gain none loses nothing by a bound that an ordinary user cannot lower.
    if flag(PR_GET_NO_NEW_PRIVS) == 1 and not held()["permitted"]:
        raise Absent("no program can add any")
    return list(absent([number for number in range(32) if flag(PR_CAPBSET_READ, number)], "none"))


@GROUP.probe("gain by running a program", denied=("absent",))
def by_exec(stage: Stage) -> str:
    return str(absent(flag(PR_GET_NO_NEW_PRIVS) != 1 and "programs may add privileges", "no new privileges"))


@GROUP.probe("call without a filter", denied=("absent",))
def unfiltered(stage: Stage) -> str:
    return str(absent(flag(PR_GET_SECCOMP) != 2 and "no filter", "filtered"))


@GROUP.probe("be root of the host", denied=("absent",))
def root_of_host(stage: Stage) -> list[str]:
    # An engine may give containers the host's own uids; what counts is that a task has not root's, and cannot get it.
    if stage.tier == "reduced" or stage.container:
        return list(absent(0 in os.getresuid() and ["root"], f"the user is {os.getuid()}"))
    rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return list(absent([" ".join(row) for row in rows if int(row[1]) == 0], f"mapped as {rows}"))


@GROUP.probe("stay in groups", denied=("absent",))
def groups(stage: Stage) -> list[int]:
    # A namespace shows groups that it does not know, and that can only deny, as the overflow group.
    return list(absent(set(os.getgroups()) - {os.getgid(), 65534}, "no group but one's own"))


def capabilities(bits: int) -> int:
    """Set the capabilities of this process."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    return call("capset", header, struct.pack("6I", bits, bits, 0, 0, 0, 0))


def deadlines() -> int:
    """Ask for deadlines that are met before all else."""
    millisecond = 1_000_000
    attributes = struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, millisecond, 100 * millisecond, 100 * millisecond)
    return call("sched_setattr", 0, ctypes.create_string_buffer(attributes, 48), 0)


def raised(name: str) -> object:
    """Raise the hard limit of a resource by one."""
    which = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY:
        raise Absent("there is no limit")
    resource.setrlimit(which, (hard, hard + 1))
    return resource.getrlimit(which)
