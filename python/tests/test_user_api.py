"""A manager as a Python program uses it, against a small HTTP server that answers as a manager does."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from manta.apis import AsyncUserAPI, AuthoringError, ManagerRefused, ManagerUnreachable, Results, UserAPI
from manta.light.errors import GlobalNotFound, ResultNotFound
from manta.light.utils import numpy_to_bytes

SWARM = {"id": "sw_1", "name": "demo", "state": "running", "reason": "it runs", "waiting": [], "task_runs": []}
KINDS = ("swarm_started", "iteration_started", "swarm_succeeded")
EVENTS = [{"seq": number, "event": {"kind": kind}} for number, kind in enumerate(KINDS, 1)]


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers one request each connection; every request is kept."""

    asked: list[tuple[str, str, dict[str, str]]] = []  # noqa: RUF012

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path, dict(self.headers)))
        path = self.path.removeprefix("/v1/clusters/default")
        if path.startswith("/swarms/demo/events?"):  # it breaks off after each event, in the middle of the next
            after = int(parse_qs(urlsplit(path).query)["after"][0])
            self.answer(200, stream(EVENTS[after : after + 1]) + b"id: sw", "text/event-stream")
        elif path.startswith("/blobs/"):
            self.answer(200, numpy_to_bytes(int(path.rpartition("/")[2])))
        elif path == "/swarms/lost":
            problem = {"code": "MANTA-0301", "detail": "there is no swarm `lost`", "hint": "did you mean `demo`?"}
            self.answer(404, json.dumps(problem).encode(), "application/problem+json")
        elif path == "/swarms/odd":
            self.answer(502, b"<html>", "text/html")
        else:
            self.answer(200, json.dumps(DOCUMENTS[path]).encode())

    def do_POST(self) -> None:
        self.asked.append(("POST", self.path, dict(self.headers)))
        self.answer(200, json.dumps({**SWARM, "state": self.path.rpartition("/")[2]}).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def stream(events: list[dict[str, Any]]) -> bytes:
    lines = (f"id: sw_1:{event['seq']}\nevent: x\ndata: {json.dumps(event)}\n\n" for event in events)
    return (": keep-alive\n\n" + "".join(lines)).encode()


def entry(name: str, node: str, iteration: int, value: int, accepted: bool = True) -> dict[str, Any]:
    blob = {"digest": str(value), "size": 9}
    return {"name": name, "node": node, "iteration": iteration, "task": "t", "accepted": accepted, "blob": blob}


DOCUMENTS = {
    "/swarms": [SWARM],
    "/swarms/demo": SWARM,
    "/swarms/demo/globals": [{"name": "model", "revision": 1, "blob": {"digest": "7", "size": 9}}],
    "/swarms/demo/results": [
        entry("loss", "n1", 0, 10),
        entry("loss", "n2", 0, 20),
        entry("loss", "n1", 1, 30),
        entry("<b>", "n1", 1, 40, accepted=False),
    ],
    "/swarms/demo/logs?after=0&level=error": [{"seq": 4, "text": "no"}],
    "/swarms/demo/logs?after=4&level=error": [],
    "/nodes": [{"name": "n1"}],
}


@pytest.fixture
def api() -> Iterator[UserAPI]:
    """Serve on a port of loopback that is free."""
    Answers.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield UserAPI(f"http://127.0.0.1:{server.server_port}", "secret")
        server.shutdown()


def test_questions_carry_the_token_and_answers_are_typed(api: UserAPI) -> None:
    swarm = api.swarm("demo")
    assert (swarm.id, swarm.state, swarm.is_over, swarm["name"]) == ("sw_1", "running", False, "demo")
    assert [one.id for one in api.swarms()] == ["sw_1"] and api.nodes() == [{"name": "n1"}]
    assert api.logs("demo", level="error") == [{"seq": 4, "text": "no"}]
    assert all(headers["Authorization"] == "Bearer secret" for _, _, headers in Answers.asked)
    assert "demo: running" in swarm._repr_html_()


def test_values_are_fetched_when_they_are_asked_for(api: UserAPI) -> None:
    results, globals_ = api.results("demo"), api.globals("demo")
    assert not any("/blobs/" in path for _, path, _ in Answers.asked)
    assert results["loss"] == {0: {"n1": 10, "n2": 20}, 1: {"n1": 30}} and globals_["model"] == 7
    assert (results.iterations, results.nodes, results.names) == ((0, 1), ("n1", "n2"), ("<b>", "loss"))
    assert [one.value for one in results.select("loss", iteration=-1)] == [30]
    assert [one.value for one in results.select(node="n1", accepted=None)] == [10, 30, 40]
    assert isinstance(results[:2], Results) and len(results[:2]) == 2 and results[0].value == 10
    with pytest.raises(ResultNotFound, match='did you mean "loss"'):
        results["los"]
    with pytest.raises(GlobalNotFound):
        globals_["nothing"]
    html = results._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html.replace("<tbody>", "")


def test_results_become_a_data_frame(api: UserAPI) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    frame = api.results("demo").to_pandas()
    assert frame.shape == (4, 6) and list(frame["value"]) == [10, 20, 30, 40]


def test_a_stream_that_breaks_off_goes_on_where_it_was(api: UserAPI) -> None:
    assert [event["seq"] for event in api.watch("demo")] == [1, 2, 3]


def test_a_change_has_a_key_of_its_own(api: UserAPI) -> None:
    assert [getattr(api, what)("demo").state for what in ("stop", "pause", "resume")] == ["stop", "pause", "resume"]
    keys = [headers["Idempotency-Key"] for method, _, headers in Answers.asked if method == "POST"]
    assert len(set(keys)) == 3


def test_a_refusal_is_one_sentence_with_its_code(api: UserAPI) -> None:
    with pytest.raises(ManagerRefused) as caught:
        api.swarm("lost")
    assert (caught.value.code, caught.value.status) == ("MANTA-0301", 404)
    assert str(caught.value) == "there is no swarm `lost`\nhint: did you mean `demo`?"
    with pytest.raises(ManagerRefused, match="answered 502"):
        api.swarm("odd")


def test_waiting_has_a_limit_that_says_what_the_swarm_does(api: UserAPI) -> None:
    with pytest.raises(TimeoutError, match="it runs"):
        api.wait("demo", timeout=0.01)


def test_nobody_there_is_told_with_the_address(tmp_path: Path) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Answers, bind_and_activate=True) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
    for where in (address, f"unix:{tmp_path}/m.sock"):
        with pytest.raises(ManagerUnreachable, match=f"no manager answers at {where}") as caught:
            UserAPI(where, "t").swarms()
        assert caught.value.retryable and "MANTA_MANAGER" in str(caught.value)


def test_arguments_are_checked_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MANTA_MANAGER", "MANTA_TOKEN", "MANTA_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AuthoringError, match="no token"):
        UserAPI()
    with pytest.raises(AuthoringError, match="token file"):
        UserAPI(token_file=tmp_path / "nothing")
    with pytest.raises(AuthoringError, match="address"):
        UserAPI("ftp://x", "t")
    (tmp_path / "token").write_text("secret\n")
    assert "127.0.0.1:7766" in repr(UserAPI(token_file=tmp_path / "token"))


def test_both_faces_have_the_same_calls() -> None:
    def calls(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert calls(UserAPI) == calls(AsyncUserAPI)
