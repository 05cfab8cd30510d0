"""Runs one attempt: loads the bundle, calls the user's code, and tells the agent how it ended."""

import contextlib
import inspect
import os
import random
import socket
import sys
from typing import Any, Callable, Dict, Mapping, Optional, Protocol

from . import _attempt, _pressure, _socket
from ._limits import let_go, limit_of
from ._loader import load_entry
from ._network import NO_NETWORK, wanted_network
from ._packages import offer_packages
from ._traceback import user_location, user_traceback
from .errors import MantaError, ResourceExhaustionError

AGENT_FD = 3
"""The descriptor of the socket that the agent left open."""

CODE_ROOT = "/code"
"""Where the bundle is, read-only, unless the agent tells another place."""


class Watch(Protocol):
    """Whoever looks on while an attempt runs, as a debugger does."""

    def call(self, code: Callable[[], Any]) -> Any:
        """Call the user's code."""

    def failed(self, error: BaseException) -> None:
        """Look at what ended it, before it is reported."""


def main(wait: Callable[[], None] = lambda: None) -> None:
    """Run the attempt of this process, and exit with 0 if it succeeded, 1 if not.

    Parameters
    ----------
    wait : callable, optional
        Returns when the attempt's own files are there to be read.
    """
    attempt = connect(socket.socket(fileno=AGENT_FD), wait)
    packages = attempt.info.get("packages")
    if packages:
        offer_packages(str(packages))
    try:
        failure = run_attempt(attempt, str(attempt.info.get("code", CODE_ROOT)))
    except ResourceExhaustionError as error:  # told while another failure was being described
        failure = failure_of(error, None)
    _pressure.ignore()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # the user's code may have closed or replaced it
            stream.flush()
    if failure is None:
        attempt.request("finished", ok=True)
    else:
        attempt.request("finished", ok=False, error=failure)
    os._exit(0 if failure is None else 1)


def connect(sock: socket.socket, wait: Callable[[], None] = lambda: None) -> _attempt.Attempt:
    """Make this process the one that runs the attempt of which the agent tells on ``sock``."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    wait()
    attempt = _attempt.Attempt(sock)
    _attempt.bind(attempt)
    _pressure.listen()
    return attempt


def run_attempt(
    attempt: _attempt.Attempt,
    root: str,
    *,
    watch: "Optional[Watch]" = None,
) -> Optional[Dict[str, Any]]:
    """Load and run the bundle at ``root``; return ``None``, or what went wrong."""
    module = attempt.info["module"]
    seed = int(attempt.info["seed"])
    try:
        random.seed(seed)
        call = entry_point(str(module["name"]), root, module["entry"])
        offer_seed(seed)
        attempt.notify("started")
        if watch is None:
            finish(call())
        else:
            watch.call(lambda: finish(call()))
    except SystemExit as exit_:
        return None if exit_.code in (None, 0) else _exit_failure(exit_, root)
    except BaseException as error:
        if watch is not None:
            watch.failed(error)
        return failure_of(error, root)
    return None


def rehearse() -> None:
    """Run an attempt of our own in this process, which then has written once to what every attempt writes to.

    It leaves nothing but that: what follows must seed the random modules anew.
    """
    modules, path = set(sys.modules), list(sys.path)
    entry = {"file": "_rehearsal.py", "class": "Rehearsal"}
    root = os.path.dirname(__file__)
    ours, theirs = socket.socketpair()
    try:
        _socket.send_frame(theirs, {"id": 1, "ok": True, "module": {"name": "rehearsal", "entry": entry}, "seed": 0})
        failure = run_attempt(connect(ours), root)
        with open(os.path.join(root, entry["file"]), "rb") as source:
            compile(source.read(), "rehearsal", "exec")  # as a user's file is, which nobody compiled before
    finally:
        _pressure.forget()
        _attempt.bind(None)
        ours.close()
        theirs.close()
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            del sys.modules[name]
    if failure is not None:
        raise MantaError(f"the rehearsal failed: {failure['message']}")


def entry_point(name: str, root: str, entry: Mapping[str, Any]) -> Callable[[], Any]:
    """Import the bundle and return what to call: ``main``, or ``run`` of a new task object.

    Raises
    ------
    MantaError
        If the entry file lacks what the bundle's manifest names.
    """
    loaded = load_entry(name, root, entry)
    wanted = str(entry["call"] if "call" in entry else entry["class"])
    found = getattr(loaded, wanted, None)
    if not callable(found):
        raise MantaError(f"{entry['file']} has no {wanted}")
    return found if "call" in entry else found().run  # type: ignore[no-any-return]


def finish(outcome: Any) -> None:
    """Wait for a ``main`` or ``run`` that is a coroutine function."""
    if inspect.iscoroutine(outcome):
        import asyncio

        asyncio.run(outcome)


def offer_seed(seed: int) -> None:
    """Seed the random modules that are imported: Python's own, and numpy's legacy generator."""
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy

        numpy.random.seed(seed % 2**32)


def failure_of(error: BaseException, root: Optional[str]) -> Dict[str, Any]:
    """Return what the agent is told about an error in the user's code."""
    let_go(error)
    message = (error.message if isinstance(error, MantaError) else str(error))[:4000]
    return {
        "type": type(error).__name__,
        "message": f"{message}; {NO_NETWORK}" if wanted_network(error) else message,
        "traceback": user_traceback(error, root),
        "where": user_location(error, root),
        "limit": limit_of(error),
    }


def _exit_failure(exit_: SystemExit, root: str) -> Dict[str, Any]:
    failure = failure_of(exit_, root)
    told = f"with {exit_.code!r}" if isinstance(exit_.code, int) else f"saying: {exit_.code}"
    return {**failure, "message": f"the task called sys.exit {told}"}
