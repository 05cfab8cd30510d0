"""The ``manta`` program as a child of this process: found, started, and ended with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from manta import _codes
from manta._errors import AuthoringError

BINARY_VARIABLE = "MANTA_BINARY"
"""Names the ``manta`` program to run, where it is not beside Python or on PATH."""

_PR_SET_PDEATHSIG = 1


def find_binary() -> str:
    """Return the path of the ``manta`` program.

    Raises
    ------
    AuthoringError
        If it is nowhere; says where it was looked for.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if not os.access(named, os.X_OK) or not os.path.isfile(named):
            raise AuthoringError(_codes.NO_BINARY, f"{BINARY_VARIABLE} is `{named}`, which is no program")
        return named
    beside = Path(sys.executable).with_name("manta")
    if os.access(beside, os.X_OK) and beside.is_file():
        return str(beside)
    found = shutil.which("manta")
    if found is None:
        message = f"there is no `manta` program, neither as `{beside}` nor on PATH"
        hint = f"install the manta package into this Python, or set {BINARY_VARIABLE}"
        raise AuthoringError(_codes.NO_BINARY, message, hint=hint)
    return found


def run_to_end(command: list[str], timeout: float | None) -> tuple[int, bytes]:
    """Run the command; its standard input stays open until this process ends."""
    child_end, our_end = os.pipe()
    try:
        with subprocess.Popen(command, stdin=child_end, stdout=subprocess.PIPE, preexec_fn=_die_with_parent()) as child:
            os.close(child_end)
            try:
                output, _ = child.communicate(timeout=timeout)
            except BaseException as error:
                _end(child)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TimeoutError(f"the swarm did not end within {timeout} s") from None
                raise
    finally:
        os.close(our_end)
    return child.returncode, output


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(10)
    child.kill()


def _die_with_parent() -> Callable[[], None] | None:
    """Return what ends the child when this process ends, however it ends; None where unknown."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    term = int(signal.SIGTERM)

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, term, 0, 0, 0)

    return ask
