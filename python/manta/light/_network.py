"""Which failures come from there being no network, so that their message can say so."""

import socket
import traceback
from typing import Optional, Set

NO_NETWORK = "a task has no network: datasets, globals and results are what it has"
"""What the message of such a failure ends with."""


def wanted_network(error: BaseException, seen: Optional[Set[int]] = None) -> bool:
    """Return whether ``error``, or what led to it, is that a name was not resolved or a socket not made."""
    seen = set() if seen is None else seen
    if id(error) in seen:
        return False
    seen.add(id(error))
    if isinstance(error, socket.gaierror) or (isinstance(error, PermissionError) and _is_in_socket(error)):
        return True
    led = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__
    reason = getattr(error, "reason", None) if isinstance(error, OSError) else None  # of a URLError
    return any(wanted_network(other, seen) for other in (led, reason) if isinstance(other, BaseException))


def _is_in_socket(error: BaseException) -> bool:
    """Whether the line that raised is one of the module ``socket``, where every socket is made."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__") == "socket"
