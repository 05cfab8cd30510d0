"""``python -m manta._replay FOLDER``: run one attempt of the past in this process, for ``manta replay --local``.

The folder holds ``replay.json``, the module in ``code/``, the packages of its lock in ``packages/`` where it has
any, and recorded values in ``values/``. What the task leaves goes to ``out/`` and ``outcome.json``. There is no
sandbox: the code runs as the user who calls this.
"""

from __future__ import annotations

import json
import os
import pdb
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from manta._replay_agent import ReplayAgent
from manta.light import _attempt
from manta.light._boot import run_attempt
from manta.light._packages import offer_packages

_CLASSES = {"DataCorruptionError": "dataset", "ResourceExhaustionError": "resource_limit"}


class _Debugger(pdb.Pdb):
    """Stops in the task's own code, at its first line rather than at its call."""

    left = False

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Go on to the first line."""

    def set_quit(self) -> None:
        """Note that the user leaves, which ends the task without a trace of its own."""
        self.left = True
        super().set_quit()


class _Watch:
    """Opens the debugger where it is wanted."""

    def __init__(self, at_failure: bool, at_start: bool) -> None:
        self._at_failure = at_failure
        self._at_start = at_start
        self.abandoned = False

    def call(self, code: Callable[[], Any]) -> Any:
        """Call the user's code, from its first line on under the debugger if that is wanted."""
        if not self._at_start:
            return code()
        debugger = _Debugger(skip=["manta.*", "asyncio.*"])
        try:
            return debugger.runcall(code)
        finally:
            self.abandoned = debugger.left

    def failed(self, error: BaseException) -> None:
        """Open the debugger where the error was raised."""
        if self._at_failure and not self.abandoned and not isinstance(error, KeyboardInterrupt):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            print("the debugger stands where it was raised; `q` leaves it", file=sys.stderr)
            pdb.post_mortem(error.__traceback__)


def main(arguments: list[str] | None = None) -> int:
    """Run the attempt that the folder holds, write what it left, and return the exit code."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    folder = Path(name).absolute()
    document = json.loads((folder / "replay.json").read_bytes())
    watch = _Watch(document["pdb"], document["break_first"])
    ours, theirs = socket.socketpair()
    agent = ReplayAgent(theirs, folder, document)
    thread = threading.Thread(target=agent.serve, name="manta-replay-agent", daemon=True)
    thread.start()
    attempt = _attempt.Attempt(ours)
    _attempt.bind(attempt)
    if (folder / "packages").is_dir():
        offer_packages(str(folder / "packages"))
    (folder / "begun").touch()
    failure = run_attempt(attempt, str(folder / "code"), watch=watch)
    attempt.close()
    thread.join()
    left = {**agent.left(), "failure": _failure(failure), "abandoned": watch.abandoned}
    (folder / "outcome.json").write_text(json.dumps(left), encoding="utf-8")
    return 0 if failure is None else 1


def _failure(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a failure as a node reports it."""
    if told is None:
        return None
    kind, message = told["type"], told["message"]
    return {
        "class": _CLASSES.get(kind, "user_error"),
        "message": f"{kind}: {message}" if message else kind,
        "traceback": told["traceback"],
        "location": told["where"],
    }


if __name__ == "__main__":
    code = main()
    # Threads that the task left behind must not keep the process, as they do not on a node.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
