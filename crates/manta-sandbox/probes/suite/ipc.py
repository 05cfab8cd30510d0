"""Shares memory, queues and names with others."""

from __future__ import annotations

import ctypes
import os

from .calls import LIBC, call, checked
from .probe import GONE, Group, absent

GROUP = Group("shared memory", denied=(*GONE, "absent"))


GROUP.add("a segment of the host", lambda stage: attached(stage.key), needs=("key",))
GROUP.add("semaphores of the host", lambda stage: call("semget", stage.key, 1, 0), needs=("key",))
GROUP.add("a message queue of the host", lambda stage: call("msgget", stage.key, 0), needs=("key",))
GROUP.add("segments of anybody", lambda stage: listed("shm"))
GROUP.add("semaphores of anybody", lambda stage: listed("sem"))
GROUP.add("message queues of anybody", lambda stage: listed("msg"))
GROUP.add("a named queue of the host", lambda stage: queue(stage.queue), needs=("queue",))
GROUP.add("named memory of the host", lambda stage: os.open(f"/dev/shm/{stage.memory}", os.O_RDWR), needs=("memory",))
GROUP.add("names of the host's memory", lambda stage: absent(os.listdir("/dev/shm"), "empty"), needs=("memory",))
GROUP.add("named queues of anybody", lambda stage: absent(os.listdir("/dev/mqueue"), "empty"))
GROUP.add("huge pages of the host", lambda stage: os.listdir("/dev/hugepages"))


def attached(key: int) -> bytes:
    """Return what a segment holds."""
    LIBC.shmat.restype = ctypes.c_void_p
    at = LIBC.shmat(call("shmget", key, 0, 0), None, 0)
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(at, 6)


def listed(kind: str) -> list[str]:
    """Return the rows of a table of the kernel."""
    with open(f"/proc/sysvipc/{kind}") as table:
        return list(absent(table.read().splitlines()[1:], "none"))


def queue(name: str) -> int:
    """Open a named queue."""
    return checked(LIBC.mq_open(b"/" + name.encode(), os.O_RDWR), "mq_open")
