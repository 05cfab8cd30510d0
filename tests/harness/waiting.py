"""Waits for a state, never for a time."""

import time

POLL_S = 0.03


class TimedOut(AssertionError):
    """A state did not come; the message says what was seen last."""


def wait_until(limit_s, look):
    """Call ``look`` until it reports nothing lacking.

    Parameters
    ----------
    limit_s : float
        Seconds after which waiting is given up.
    look : callable
        Returns None once the state is reached, else a sentence about what is there instead.
    """
    deadline = time.monotonic() + limit_s
    while True:
        status = look()
        if status is None:
            return
        if time.monotonic() > deadline:
            raise TimedOut(f"after {limit_s:g} s: {status}")
        time.sleep(POLL_S)
