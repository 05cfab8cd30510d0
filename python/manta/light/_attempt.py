"""The one attempt that this process runs: its connection to the agent, and what the agent told."""

import os
import socket
import threading
from typing import Any, Dict, List, Optional, Sequence

from . import _socket
from .errors import (
    AgentConnectionLost,
    DataCorruptionError,
    DatasetNotAuthorized,
    DatasetUnavailable,
    MantaError,
    OutsideSandbox,
    ResourceExhaustionError,
    UnknownTarget,
)

_ERRORS = {
    "dataset_not_authorized": DatasetNotAuthorized,
    "dataset_missing": DatasetUnavailable,
    "data_corruption": DataCorruptionError,
    "resource_exhausted": ResourceExhaustionError,
    "unknown_task": UnknownTarget,
    "unknown_node": UnknownTarget,
}

_SOCKET = "MANTA_SOCKET"
"""Names the descriptor of the agent's socket, where a program of an image runs and no module."""

_current: "Optional[Attempt]" = None


class Reply:
    """The agent's answer to one request: its fields, and at most one descriptor."""

    def __init__(self, fields: Dict[str, Any], fds: List[int]) -> None:
        self.fields = fields
        self._fds = fds

    def take_descriptor(self) -> int:
        """Return the descriptor, which the caller now owns."""
        if not self._fds:
            raise AgentConnectionLost("the agent's answer lacks the value it announces")
        return self._fds.pop(0)

    def close(self) -> None:
        """Close what nobody took."""
        _socket.close_all(self._fds)
        self._fds = []


class Attempt:
    """The connection of one attempt.

    Parameters
    ----------
    sock : socket.socket
        Connected to the agent; this object owns it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._last_id = 0
        self._pid = os.getpid()
        self._put_off: Optional[MantaError] = None
        self.info: Dict[str, Any] = self.request("hello").fields

    def request(self, op: str, *, fds: Sequence[int] = (), **fields: Any) -> Reply:
        """Ask the agent, and wait for its answer.

        Raises
        ------
        MantaError
            The kind of error that the agent answers, or ``AgentConnectionLost``.
        """
        with self._lock:
            self._last_id += 1
            self._send({"op": op, "id": self._last_id, **fields}, fds)
            document, received = self._receive()
            reply = Reply(document, received)
            if document.pop("id", None) != self._last_id:
                reply.close()
                raise AgentConnectionLost("the agent answered another question")
        error = _error_of(document) if document.pop("ok", None) is not True else self._take_put_off()
        if error is not None:
            reply.close()
            raise error
        return reply

    def notify(self, op: str, **fields: Any) -> None:
        """Tell the agent something that has no answer."""
        with self._lock:
            self._send({"op": op, **fields}, ())
        error = self._take_put_off()
        if error is not None:
            raise error

    def put_off(self, error: MantaError) -> bool:
        """Keep ``error``, to be raised when the message under way is over, if there is one."""
        if not self._lock.locked():
            return False
        self._put_off = error
        return True

    def _take_put_off(self) -> Optional[MantaError]:
        error, self._put_off = self._put_off, None
        return error

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _send(self, body: Dict[str, Any], fds: Sequence[int]) -> None:
        if os.getpid() != self._pid:
            raise OutsideSandbox(
                "a child process of the task cannot talk to the platform",
                hint="return values to the task's own process and publish them there",
            )
        try:
            _socket.send_frame(self._sock, body, fds)
        except OSError as error:
            raise AgentConnectionLost(f"the agent cannot be reached: {error}") from error

    def _receive(self) -> "tuple[Dict[str, Any], List[int]]":
        try:
            return _socket.receive_frame(self._sock)
        except AgentConnectionLost:
            raise
        except OSError as error:
            raise AgentConnectionLost(f"the agent cannot be reached: {error}") from error


def bind(attempt: Optional[Attempt]) -> None:
    """Make ``attempt`` the one that this process runs; ``None`` ends it."""
    global _current
    _current = attempt


def bound() -> Optional[Attempt]:
    """Return the process's attempt, if it runs one."""
    if _current is None and _SOCKET in os.environ:
        bind(_connected())
    return _current


def current(what: str) -> Attempt:
    """Return the process's attempt.

    Raises
    ------
    OutsideSandbox
        If this process runs none; names ``what`` was asked for.
    """
    attempt = bound()
    if attempt is None:
        raise OutsideSandbox(
            f"{what} is only there while a task runs, and this process runs none",
            hint="to try a task without a platform: manta.testing.run_task(YourTask, datasets=..., globals=...)",
        )
    return attempt


def _connected() -> Optional[Attempt]:
    """Return the attempt of an image's own program, unless the agent's socket did not come along to this process."""
    try:
        return Attempt(socket.socket(fileno=int(os.environ[_SOCKET])))
    except (ValueError, OSError):
        return None


def _error_of(document: Dict[str, Any]) -> MantaError:
    kind = _ERRORS.get(str(document.get("error")), MantaError)
    error = kind(str(document.get("message", "the agent refused")), hint=document.get("hint"))
    if isinstance(error, ResourceExhaustionError):
        error.limit = document.get("limit")
    return error
