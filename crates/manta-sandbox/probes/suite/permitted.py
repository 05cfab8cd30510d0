"""What every task must be able to do: a sandbox that denies everything would pass all other probes."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import multiprocessing
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from .probe import NAMESPACED, Group, Stage

GROUP = Group("permitted", denied=())


def same(found: object, wanted: object) -> object:
    """Return what was found, if it is what was wanted."""
    if found != wanted:
        raise ValueError(f"{found!r} instead of {wanted!r}")
    return found


@GROUP.probe("fork")
def fork(stage: Stage) -> object:
    child = os.fork()
    if child == 0:
        os._exit(7)
    return same(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)


@GROUP.probe("threads")
def threads(stage: Stage) -> object:
    seen: list[int] = []
    started = [threading.Thread(target=seen.append, args=(number,)) for number in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return same(sorted(seen), list(range(8)))


@GROUP.probe("a program")
def program(stage: Stage) -> object:
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "print(6 * 7)"], capture_output=True, text=True, check=True
    )
    return same(said.stdout.strip(), "42")


@GROUP.probe("a program of the system")
def shell(stage: Stage) -> object:
    return same(subprocess.run(["/bin/sh", "-c", "echo $((6 * 7))"], capture_output=True, check=True).stdout, b"42\n")


@GROUP.probe("a pool of processes", tiers=NAMESPACED)
def pool(stage: Stage) -> object:
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return same(workers.map(abs, [-1, -2, -3]), [1, 2, 3])


@GROUP.probe("shared memory of one's own", tiers=NAMESPACED)
def shared_memory(stage: Stage) -> object:
    name = f"/dev/shm/probe-{os.getpid()}"
    Path(name).write_bytes(b"shared")
    found = Path(name).read_bytes()
    os.unlink(name)
    return same(found, b"shared")


@GROUP.probe("files in the scratch")
def scratch(stage: Stage) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deep", "file")
        path.parent.mkdir()
        path.write_text("text")
        path.rename(path.with_name("renamed"))
        os.symlink("renamed", path)
        return same(path.read_text(), "text")


@GROUP.probe("modes in the scratch", tiers=NAMESPACED)
def modes(stage: Stage) -> object:
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0o640)
        return same(os.stat(file.name).st_mode & 0o777, 0o640)


@GROUP.probe("a program made in the scratch")
def made_program(stage: Stage) -> object:
    with tempfile.TemporaryDirectory() as folder:
        tool = os.open(folder + "/tool", os.O_CREAT | os.O_WRONLY, 0o755)
        os.write(tool, b"#!/bin/sh\necho made here\n")
        os.close(tool)
        return same(subprocess.run([folder + "/tool"], capture_output=True, check=True).stdout, b"made here\n")


@GROUP.probe("code made in memory")
def made_code(stage: Stage) -> object:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    return same(page.write(b"\xc3"), 1)


@GROUP.probe("calls from C back to Python")
def callbacks(stage: Stage) -> object:
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    ctypes.CDLL(None).qsort(numbers, 3, 4, compare(lambda one, other: one[0] - other[0]))
    return same(list(numbers), [1, 2, 3])


@GROUP.probe("a pair of sockets")
def pair(stage: Stage) -> object:
    one, other = socket.socketpair()
    one.send(b"hello")
    return same(other.recv(5), b"hello")


@GROUP.probe("a descriptor passed on")
def passed(stage: Stage) -> object:
    one, other = socket.socketpair()
    read, write = os.pipe()
    socket.send_fds(one, [b"x"], [write])
    os.write(socket.recv_fds(other, 1, 1)[1][0], b"passed")
    return same(os.read(read, 6), b"passed")


@GROUP.probe("waiting for several things")
def waiting(stage: Stage) -> object:
    read, write = os.pipe()
    poll = select.epoll()
    poll.register(read, select.EPOLLIN)
    os.write(write, b"x")
    return same(poll.poll(1), [(read, select.EPOLLIN)])


@GROUP.probe("an event loop")
def event_loop(stage: Stage) -> object:
    import asyncio

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    return same(asyncio.run(answer()), 42)


@GROUP.probe("sealed memory")
def sealed(stage: Stage) -> object:
    memory = os.memfd_create("value", os.MFD_ALLOW_SEALING)
    os.write(memory, b"sealed")
    seals = 0x2 | 0x4 | 0x8  # F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE
    fcntl.fcntl(memory, 1033, seals)
    return same(mmap.mmap(memory, 0, prot=mmap.PROT_READ)[:], b"sealed")


@GROUP.probe("a signal to one's own child")
def own_child(stage: Stage) -> object:
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    return same(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGKILL)


@GROUP.probe("an alarm")
def alarm(stage: Stage) -> object:
    rang: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    deadline = time.monotonic() + 2
    while not rang and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return same(rang, [signal.SIGALRM])


@GROUP.probe("a lock on a file")
def lock(stage: Stage) -> object:
    with tempfile.TemporaryFile() as file:
        return same(fcntl.flock(file, fcntl.LOCK_EX), None)


@GROUP.probe("one's own limits")
def own_limits(stage: Stage) -> object:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    return same(resource.getrlimit(resource.RLIMIT_NOFILE)[0], min(soft, 256))


@GROUP.probe("a lower priority", tiers=NAMESPACED)
def lower(stage: Stage) -> object:
    return os.nice(1)


@GROUP.probe("one's own processors")
def processors(stage: Stage) -> object:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, mine)
    return same(os.sched_getaffinity(0), mine)


@GROUP.probe("devices that answer")
def devices(stage: Stage) -> object:
    Path("/dev/null").write_bytes(b"x")
    with open("/dev/urandom", "rb") as random, open("/dev/zero", "rb") as zero:
        return same((len(random.read(8)), zero.read(2)), (8, b"\0\0"))


@GROUP.probe("what the processor and memory are")
def machine(stage: Stage) -> object:
    return len(Path("/proc/cpuinfo").read_text()), len(Path("/proc/meminfo").read_text()), os.cpu_count()


@GROUP.probe("the personality of this system")
def personality(stage: Stage) -> object:
    return same(ctypes.CDLL(None).personality(ctypes.c_ulong(0xFFFFFFFF)), 0)
