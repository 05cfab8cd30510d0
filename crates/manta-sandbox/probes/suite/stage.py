"""Puts up what probes aim at: files, listeners, processes, keys of the host; and notes who was spoken to.

It writes where everything is, as one line of JSON, then waits. A line on standard input asks what was heard so far; the
end of standard input takes everything down.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .writing import VICTIMS

METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
"""Where clouds tell virtual machines their secrets; here on the loopback interface of a network of the stage's own."""

SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
IPC_CREAT, IPC_RMID, WORLD = 0o1000, 0, 0o666
OTHER_ID = 54321
"""Owner of the set-uid and set-gid programs."""


class Listeners:
    """Sockets that note by their names who spoke to them."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self._selector = selectors.DefaultSelector()
        threading.Thread(target=self._listen, daemon=True).start()

    def add(self, name: str, family: int, kind: int, address: Any) -> Any:
        """Listen at an address; return it as it turned out."""
        listener = socket.socket(family, kind)
        listener.bind(address)
        listener.setblocking(False)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        take = (lambda: listener.accept()[0].close()) if kind == socket.SOCK_STREAM else (lambda: listener.recv(64))
        self._selector.register(listener, selectors.EVENT_READ, (name, take))
        return listener.getsockname()

    def watch(self, name: str, file: int) -> None:
        """Note when something can be read."""
        self._selector.register(file, selectors.EVENT_READ, (name, lambda: os.read(file, 64)))

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select(0.05):
                name, take = key.data
                self.heard.add(name)
                with contextlib.suppress(OSError):
                    take()


def files(root: Path) -> dict[str, Any]:
    """Make files, folders and a dataset."""
    folder, mine, other = root / "open", root / "mine", root / "other"
    for path in (folder, mine, other, mine / "victims"):
        path.mkdir()
    folder.chmod(0o1777)
    for path, mode in ((root / "secret.txt", 0o644), (root / "writable.txt", 0o666), (other / "values.txt", 0o644)):
        path.write_text("theirs")
        path.chmod(mode)
    (mine / "values.txt").write_text("1\n2\n")
    (mine / "link").symlink_to(other / "values.txt")
    (mine / "climbs").symlink_to("../other/values.txt")
    (mine / "folder").symlink_to(other)
    os.mkfifo(mine / "pipe")
    (mine / "pipe").chmod(0o666)
    for verb in VICTIMS:
        victim = mine / "victims" / verb.replace(" ", "-")
        victim.write_text("whole")
        victim.chmod(0o666)
        Path(f"{victim}-replaced").write_text("whole")
    # Even what everybody may write on the host.
    for path in (mine, mine / "victims"):
        path.chmod(0o777)
    if os.geteuid() == 0:
        programs(mine)
    found = {"folder": folder, "secret": root / "secret.txt", "writable": root / "writable.txt", "mine": mine}
    return {name: str(path) for name, path in {**found, "other": other / "values.txt"}.items()}


def programs(mine: Path) -> None:
    """Put programs with privileges, and a device, into the dataset."""
    for name, source, mode in (("set-uid", "id", 0o4755), ("set-gid", "id", 0o2755), ("capable", "cat", 0o755)):
        shutil.copy(shutil.which(source) or f"/usr/bin/{source}", mine / name)
        os.chown(mine / name, *((OTHER_ID, 0) if name == "set-uid" else (0, OTHER_ID)))
        (mine / name).chmod(mode)
    every = 0xFFFFFFFF
    os.setxattr(mine / "capable", "security.capability", struct.pack("<5I", 0x02000001, every, 0, every, 0))
    os.mknod(mine / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (mine / "device").chmod(0o666)


def listeners(root: Path, own_network: bool) -> tuple[Listeners, dict[str, Any]]:
    """Listen in every way that there is."""
    heard, name = Listeners(), uuid.uuid4().hex
    local, stream, datagram = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM
    for kind, path, how in (
        ("path", root / "socket", stream),
        ("datagrams", root / "datagrams", datagram),
        ("inside", root / "mine" / "socket", stream),
    ):
        heard.add(kind, local, how, str(path))
        path.chmod(0o777)
    heard.add("abstract", local, stream, "\0" + name)
    found: dict[str, Any] = {"path": str(root / "socket"), "datagrams": str(root / "datagrams"), "abstract": name}
    if own_network:
        interface_up()
        found["metadata"] = heard.add("metadata", socket.AF_INET, stream, (METADATA, 80))[0]
    found["tcp"] = heard.add("tcp", socket.AF_INET, stream, ("127.0.0.1", 0))[1]
    found["udp"] = heard.add("udp", socket.AF_INET, datagram, ("127.0.0.1", 0))[1]
    with contextlib.suppress(OSError):
        found["tcp6"] = heard.add("tcp6", socket.AF_INET6, stream, ("::1", 0))[1]
    if own_network and add_address6():
        found["metadata6"] = heard.add("metadata6", socket.AF_INET6, stream, (METADATA6, 80))[0]
    return heard, found


def interface_up() -> None:
    """Start the loopback interface of this network, which also answers at the metadata address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(METADATA))
        fcntl.ioctl(control, SIOCSIFADDR, address)


def add_address6() -> bool:
    """Give the loopback interface the metadata address of IPv6; return whether it could be done."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            index = socket.if_nametoindex("lo")
            address = socket.inet_pton(socket.AF_INET6, METADATA6)
            fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16sIi", address, 128, index))
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind((METADATA6, 0))
        return True
    except OSError:
        return False


@contextlib.contextmanager
def process(user: int, secret: str, heard: Listeners) -> Iterator[dict[str, Any]]:
    """Keep a process of a user that notes signals, and holds a file open."""
    read, write = os.pipe()
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGUSR1, lambda number, frame: os.write(write, b"x"))
        os.setsid()
        held = os.open(secret, os.O_RDONLY)
        if os.geteuid() == 0 and user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which changing the uid has cleared
        os.write(go, held.to_bytes(4, "little"))
        while True:
            signal.pause()
    heard.watch("signal", read)
    try:
        yield {"process": child, "held": int.from_bytes(os.read(ready, 4), "little")}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextlib.contextmanager
def keys() -> Iterator[dict[str, Any]]:
    """Keep shared memory, semaphores and queues that everybody may use."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    key, name = 0x4D000000 | (os.getpid() & 0xFFFFFF), f"probe-{uuid.uuid4().hex}"
    segment = libc.shmget(key, 4096, IPC_CREAT | WORLD)
    ctypes.memmove(libc.shmat(segment, None, 0), b"theirs", 6)
    semaphores, messages = libc.semget(key, 1, IPC_CREAT | WORLD), libc.msgget(key, IPC_CREAT | WORLD)
    os.umask(0)
    queue = libc.mq_open(f"/{name}".encode(), os.O_CREAT | os.O_RDWR, WORLD, None)
    memory = Path("/dev/shm", name)
    memory.write_text("theirs")
    memory.chmod(WORLD)
    try:
        yield {"key": key, "memory": name, **({"queue": name} if queue >= 0 else {})}
    finally:
        memory.unlink()
        libc.mq_unlink(f"/{name}".encode())
        libc.shmctl(segment, IPC_RMID, None)
        libc.semctl(semaphores, 0, IPC_RMID)
        libc.msgctl(messages, IPC_RMID, None)


def main(arguments: list[str]) -> int:
    """Put the stage up, say where, and take it down at the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", type=int, default=0, help="whose process the one to be attacked is")
    parser.add_argument("--own-network", action="store_true", help="the network is the stage's own")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="manta-stage-") as folder, keys() as shared:
        root = Path(folder)
        root.chmod(0o755)
        found = files(root)
        heard, addresses = listeners(root, options.own_network)
        with process(options.user, found["secret"], heard) as victim:
            print(json.dumps({**found, **addresses, **shared, **victim, "agent": os.getppid()}), flush=True)
            for _ in sys.stdin:
                print(json.dumps(sorted(heard.heard)), flush=True)
    return 0
