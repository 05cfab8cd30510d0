"""Keeps what succeeds outside a sandbox from the machine: mounts, names and message queues of a probe's own.

Probes are made so that they harm nothing where they succeed. This is the second fence, for the one that is not: as root
nothing is tried before the kernel has shown that the namespaces of the start are left.
"""

from __future__ import annotations

import ctypes
import os

OUTSIDE = "outside"
"""In the place of a tier, where there is no sandbox."""

CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def enter() -> None:
    """Leave the mounts and the name of the machine to others; an ordinary user, who may not, cannot change them either.

    Raises
    ------
    SystemExit
        If root is where it was: then nothing may be tried.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = namespaces()
    left = libc.unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0
    private = left and libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0
    if not private or any(now == was for now, was in zip(namespaces(), before)):
        raise SystemExit(f"nothing is tried: root is still among the machine's mounts (error {ctypes.get_errno()})")


def namespaces() -> list[str]:
    """Return which namespaces of mounts and names this process is in."""
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "uts")]
