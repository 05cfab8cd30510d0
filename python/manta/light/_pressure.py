"""What a task does when its node tells it that its memory is nearly used up: it raises, while there is time.

The node sends ``SIGPWR`` to a task that uses nine tenths of its memory. A task that takes the signal
for itself hears of it instead.
"""

import signal
from types import FrameType
from typing import Optional

from . import _attempt
from ._limits import MEMORY
from .errors import ResourceExhaustionError

NEAR = 0.9
"""The share of the limit at which the node tells."""


def listen() -> None:
    """Raise ``ResourceExhaustionError`` in the main thread when the node tells."""
    signal.signal(signal.SIGPWR, _told)


def ignore() -> None:
    """Listen no more: what user code did is done."""
    signal.signal(signal.SIGPWR, signal.SIG_IGN)


def forget() -> None:
    """Take the signal as a process does that never listened."""
    signal.signal(signal.SIGPWR, signal.SIG_DFL)


def _told(_number: int, _frame: Optional[FrameType]) -> None:
    attempt = _attempt.bound()
    if attempt is None:
        return
    error = exhausted(int(attempt.info.get("resources", {}).get("cpu_memory", 0)))
    # In the middle of a message it would leave half of one behind.
    if not attempt.put_off(error):
        raise error


def exhausted(limit: int) -> ResourceExhaustionError:
    """Return the error that says how near the limit is."""
    error = ResourceExhaustionError(
        f"the attempt uses {NEAR:.0%} of its memory limit of {limit >> 20} MiB",
        hint='let go of what is not needed, or ask for more: Module(..., resources={"memory": "4GiB"})',
    )
    error.limit = MEMORY
    return error
