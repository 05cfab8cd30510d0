"""Changes what is shared: the dataset, the image, the platform's own files, the host."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .probe import GONE, NAMESPACED, Group

READ_ONLY = (*GONE, "EROFS")
GROUP = Group("writing", denied=READ_ONLY)

MS_REMOUNT, MS_BIND = 32, 4096
INTERPRETER = os.path.realpath(sys.executable)
FOLDERS = ("/", "/usr", "/usr/bin", "/usr/lib", "/etc", "/dev", "/proc", "/lib", "/var/tmp", "/run", "/home")


def planted(folder: str) -> str:
    """Make a file, and remove it again."""
    path = os.path.join(folder, f"planted-{os.getpid()}")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.unlink(path)
    return path


def opened(path: str) -> int:
    """Open a file to append to it, and write nothing."""
    return os.open(path, os.O_WRONLY | os.O_APPEND)


def remounted(path: str) -> str:
    """Make a mount writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, path.encode(), None, MS_REMOUNT | MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return path


for place in FOLDERS:
    GROUP.add(f"make a file in {place}", lambda stage, path=place: planted(path), traceless=True)
GROUP.add("change the standard library", lambda stage: opened(os.__file__))
# A running program cannot be opened for writing anyway; to rename it to its own name changes nothing.
GROUP.add("replace the interpreter", lambda stage: os.rename(INTERPRETER, INTERPRETER))
GROUP.add("change the accounts", lambda stage: opened("/etc/passwd"))
GROUP.add("change the probes themselves", lambda stage: opened(__file__))
GROUP.add("plant a file beside the probes", lambda stage: planted(os.path.dirname(__file__)))
GROUP.add("write a file of the host", lambda stage: opened(stage.writable), needs=("writable",))
GROUP.add("make a file in a folder of the host", lambda stage: planted(stage.folder), needs=("folder",))
GROUP.add("remount the root", lambda stage: remounted("/"))
GROUP.add("remount the dataset", lambda stage: remounted(stage.mine), needs=("mine",))
GROUP.add(
    "write another attempt's scratch",
    lambda stage: planted(os.path.dirname(stage.neighbour_file)),
    needs=("neighbour_file",),
)

VICTIMS: dict[str, Callable[[str], object]] = {
    "append to": opened,
    "open for writing": lambda path: os.open(path, os.O_RDWR),
    "empty": lambda path: os.truncate(path, 0),
    "remove": os.unlink,
    "rename": lambda path: os.rename(path, path + "-renamed"),
    "replace": lambda path: os.replace(path, path + "-replaced"),
    "open to others": lambda path: os.chmod(path, 0o777),
    "date": lambda path: os.utime(path, (1, 1)),
    "give away": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "tag": lambda path: os.setxattr(path, "user.probe", b"x"),
    "link beside": lambda path: os.link(path, path + "-linked"),
    "map writable": lambda path: __import__("mmap").mmap(os.open(path, os.O_RDWR), 1),
}
"""What is tried on files of the dataset, each on a file of its own."""

for verb, change in VICTIMS.items():
    GROUP.add(
        f"{verb} a file of the dataset",
        lambda stage, verb=verb, change=change: change(f"{stage.mine}/victims/{verb.replace(' ', '-')}"),
        needs=("mine",),
    )
for verb, make in (
    ("a file", planted),
    ("a folder", lambda path: os.mkdir(path + "/made")),
    ("a link", lambda path: os.symlink("/", path + "/root")),
    ("a pipe", lambda path: os.mkfifo(path + "/pipe")),
):
    GROUP.add(f"make {verb} in the dataset", lambda stage, make=make: make(stage.mine), needs=("mine",))
GROUP.add("write to a pipe of the dataset", lambda stage: os.open(stage.mine + "/pipe", os.O_RDWR), needs=("mine",))
GROUP.add(
    "leave a name in the host's /tmp",
    lambda stage: Path(stage.folder, "..", "left").touch(),
    needs=("folder",),
    tiers=NAMESPACED,
)
