"""Makes every call of each refused family, with arguments that no call can use: none may get through to the kernel."""

from __future__ import annotations

import errno

from .calls import NUMBERS, number
from .probe import Group

GROUP = Group("refused calls", denied=("EPERM",))

LEFT_OUT = ("vhangup", "sync", "munlockall", "uretprobe")
"""Calls that need no arguments to do something, and one that the kernel lets pass every filter."""


def sweep(family: str) -> str:
    """Return which calls of a family got through."""
    through = []
    for name, (of, which) in NUMBERS.items():
        if of == family and name not in LEFT_OUT:
            try:
                number(which, -1, -1, -1, -1, -1, -1)
                through.append(f"{name}: done")
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOSYS):
                    through.append(f"{name}: {errno.errorcode.get(error.errno or 0)}")
    if not through:
        raise PermissionError(errno.EPERM, "none of them")
    return ", ".join(through)


for family in sorted({family for family, _ in NUMBERS.values()} - {"allowed", "checked"}):
    GROUP.add(f"any call of the family `{family}`", lambda stage, family=family: sweep(family))
