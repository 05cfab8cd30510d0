"""Values of a task whose descriptors cannot reach its agent: written into memory that the agent lends."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from manta.light import _socket
from manta.light._attempt import Attempt
from manta.light._memory import open_value, publish
from manta.light.errors import AgentConnectionLost, ValueNotCarried


class Lender:
    """An agent that lends memory and keeps what was said to it, until the task is gone."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair()
        self.asked: list[dict[str, Any]] = []
        self.lent: list[int] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.attempt = Attempt(theirs)

    def _serve(self) -> None:
        with self._sock:
            while True:
                try:
                    body, fds = _socket.receive_frame(self._sock)
                except AgentConnectionLost:
                    return
                assert not fds, "a descriptor was sent"
                self.asked.append(body)
                sent = []
                if body["op"] == "memory":
                    self.lent.append(os.memfd_create("lent"))
                    sent = [self.lent[-1]]
                _socket.send_frame(self._sock, {"id": body["id"], "ok": True, "lends_memory": True}, sent)

    def end(self) -> None:
        """End the conversation."""
        self.attempt.close()
        self._thread.join()


def test_a_value_is_written_into_what_was_lent_and_then_named() -> None:
    lender = Lender()
    publish(lender.attempt, "result_add", "model", {"weights": [0.5] * 1000}, 'result "model"')
    lender.end()
    assert [body["op"] for body in lender.asked] == ["hello", "memory", "result_add"]
    assert lender.asked[-1]["name"] == "model"
    (memory,) = lender.lent
    assert open_value(memory, "it") == {"weights": [0.5] * 1000}


def test_nothing_is_asked_for_where_a_value_cannot_be_carried() -> None:
    lender = Lender()
    with pytest.raises(ValueNotCarried):
        publish(lender.attempt, "result_add", "model", object(), 'result "model"')
    lender.end()
    assert [body["op"] for body in lender.asked] == ["hello"]
