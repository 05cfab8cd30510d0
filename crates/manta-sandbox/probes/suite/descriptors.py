"""Looks for what was left open or lying about: descriptors, variables, arguments, terminals."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .probe import GONE, Group, Stage, absent

GROUP = Group("left behind", denied=(*GONE, "absent", "ENXIO", "ENOTTY"))

STREAMS_AND_SOCKET = 4


def spare() -> dict[int, str]:
    """Return open descriptors beyond the streams, the socket and what this very probe holds."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if int(name) >= STREAMS_AND_SOCKET and not target.startswith(("pipe:", "/proc/")):
            found[int(name)] = target
    return found


@GROUP.probe("descriptors of the agent")
def descriptors(stage: Stage) -> dict[int, str]:
    return dict(absent(spare(), "none"))


@GROUP.probe("a folder that is open")
def folders(stage: Stage) -> list[int]:
    kept = [number for number in spare() if stat.S_ISDIR(os.fstat(number).st_mode)]
    return list(absent(kept, "none"))


@GROUP.probe("a way out by an open folder")
def way_out(stage: Stage) -> list[str]:
    kept = [number for number in spare() if stat.S_ISDIR(os.fstat(number).st_mode)]
    return os.listdir(os.open("..", os.O_RDONLY, dir_fd=absent(kept, "none is open")[0]))


@GROUP.probe("standard input")
def standard_input(stage: Stage) -> str:
    target = os.readlink("/proc/self/fd/0")
    return str(absent(target != "/dev/null" and target, "nothing"))


@GROUP.probe("a variable of the user", needs=("variable",))
def variable(stage: Stage) -> str:
    return os.environ.get(stage.variable) or absent(None, "not set")


@GROUP.probe("a variable in /proc", needs=("sentinel",))
def environment(stage: Stage) -> bytes:
    return bytes(absent(stage.sentinel.encode() in Path("/proc/self/environ").read_bytes() and b"there", "not there"))


@GROUP.probe("a variable of process 1", needs=("sentinel",))
def first_environment(stage: Stage) -> bytes:
    return bytes(absent(Path("/proc/1/environ").read_bytes(), "empty"))


@GROUP.probe("a variable of the parent", needs=("sentinel",))
def parents_environment(stage: Stage) -> bytes:
    # Where processes are not hidden the parent is the task's own first process, with the same variables.
    variables = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    return bytes(absent(stage.sentinel.encode() in variables and b"there", "not there"))


@GROUP.probe("a telling variable")
def telling(stage: Stage) -> list[str]:
    words = ("TOKEN", "SECRET", "PASSWORD", "KEY", "SSH", "AWS", "CARGO", "SUDO", "XDG", "DBUS", "DISPLAY", "TEST")
    return list(absent([name for name in os.environ if any(word in name for word in words)], "none"))


@GROUP.probe("the terminal")
def terminal(stage: Stage) -> int:
    return os.open("/dev/tty", os.O_RDWR)


@GROUP.probe("a terminal of one's own")
def own_terminal(stage: Stage) -> object:
    return os.openpty()


@GROUP.probe("the working directory of the agent", needs=("folder",))
def working_directory(stage: Stage) -> str:
    return str(absent(os.getcwd() == stage.folder and os.getcwd(), os.getcwd()))
