"""Sealed memory for values that leave the process, private mappings for those that arrive."""

import fcntl
import os
from typing import Any

from ._attempt import Attempt
from ._values import decode_descriptor, encode
from .errors import DataCorruptionError

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def seal_value(value: Any, subject: str) -> int:
    """Encode ``value`` into a sealed memory file and return its descriptor, owned by the caller.

    Raises
    ------
    ValueNotCarried
        If some part of the value cannot be carried.
    """
    encoded = encode(value, subject)
    fd = os.memfd_create("manta-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        encoded.write(fd)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def publish(attempt: Attempt, op: str, name: str, value: Any, subject: str) -> None:
    """Send ``value`` to the agent under ``name``, in memory of this process, or in what the agent lends.

    Raises
    ------
    ValueNotCarried
        If some part of the value cannot be carried.
    """
    if attempt.info.get("lends_memory"):
        # No descriptor of this process can reach the agent.
        encoded = encode(value, subject)
        fd = attempt.request("memory").take_descriptor()
        try:
            encoded.write(fd)
            attempt.request(op, name=name)
        finally:
            os.close(fd)
        return
    fd = seal_value(value, subject)
    try:
        attempt.request(op, name=name, fds=[fd])
    finally:
        os.close(fd)


def open_value(fd: int, subject: str) -> Any:
    """Return the value behind ``fd``, mapped privately, and close ``fd``.

    Raises
    ------
    DataCorruptionError
        If the bytes are no value.
    """
    try:
        return decode_descriptor(fd)
    except ValueError as error:
        raise DataCorruptionError(f"{subject} cannot be read: {error}") from error
    finally:
        os.close(fd)
