"""System calls by name, with the numbers of this processor."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path
from typing import Any

CHECKED = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socketpair": (53, 199),
    "fcntl": (72, 25),
    "personality": (135, 92),
    "prctl": (157, 167),
}
"""Calls whose arguments decide, which stand in neither list: numbers on x86_64 and on aarch64."""

COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def table() -> dict[str, tuple[str, int]]:
    """Return every listed call that this processor has: its family and its number."""
    if COLUMN is None:
        raise RuntimeError(f"there are no call numbers for {platform.machine()}: add a column to both lists")
    found = {name: ("checked", numbers[COLUMN]) for name, numbers in CHECKED.items()}
    for file in ("allowed.txt", "refused.txt"):
        family = "allowed"
        for line in Path(__file__).with_name(file).read_text().splitlines():
            if line.startswith("## "):
                family = line[3:]
            if line and not line.startswith("#"):
                name, *numbers = line.split(" ")
                if numbers[COLUMN] != "-":
                    found[name] = (family, int(numbers[COLUMN]))
    return found


NUMBERS = table()
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """Make a system call.

    Raises
    ------
    OSError
        With the kernel's answer, or that there is no such call.
    """
    if name not in NUMBERS:
        raise OSError(38, f"{name} is no call of this processor")
    return number(NUMBERS[name][1], *arguments)


def number(which: int, *arguments: Any) -> int:
    """Make a system call by its number."""
    plain = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    answer = LIBC.syscall(ctypes.c_long(which), *plain)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(answer)


def checked(answer: int, what: str = "") -> int:
    """Return the answer of a C function, or raise what it answered."""
    if answer < 0:
        raise OSError(ctypes.get_errno(), what or os.strerror(ctypes.get_errno()))
    return answer
