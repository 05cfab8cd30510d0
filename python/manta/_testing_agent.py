"""The agent's side of the light protocol, for a task that runs in this process."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manta.light import _socket
from manta.light._memory import open_value, seal_value
from manta.light.errors import AgentConnectionLost

if TYPE_CHECKING:
    from manta.testing import TaskOutcome

_TASK = "task"
_PREDECESSOR = "predecessor"


class Refusal(Exception):
    """An answer that refuses a request."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class GivenResults:
    """What the task's predecessors published, by name, then by node.

    Parameters
    ----------
    results : mapping
        Name to a mapping of node and value, or to a list of values.
    labels : mapping
        Node name to its labels.
    """

    def __init__(
        self,
        results: Mapping[str, Mapping[str, Any] | Sequence[Any]],
        labels: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._labels = labels
        self._results = {name: _by_node(name, values) for name, values in results.items()}
        self._values: list[tuple[str, Any]] = []

    def select(self, name: str, task: str | None) -> dict[str, Any]:
        """Return the answer to a request for ``name``; whatever task is asked for has published it."""
        if name not in self._results:
            published = [{"name": known, "task": _PREDECESSOR} for known in self._results]
            return {"found": False, "published": published}
        entries = []
        for node, value in self._results[name].items():
            self._values.append((name, value))
            entries.append(
                {
                    "key": node,
                    "node": node,
                    "task": task or _PREDECESSOR,
                    "iteration": 0,
                    "labels": dict(self._labels.get(node, {})),
                    "ref": len(self._values) - 1,
                }
            )
        return {"found": True, "entries": entries, "missing": {}}

    def fetch(self, ref: int) -> int:
        """Return a descriptor of the value behind an entry's ``ref``."""
        name, value = self._values[ref]
        return seal_value(value, f'result "{name}"')


class Agent:
    """Answers one task, and notes in ``outcome`` what it leaves behind."""

    def __init__(self, sock: socket.socket, directory: Path, outcome: "TaskOutcome", given: GivenResults) -> None:
        self._sock = sock
        self._directory = directory
        self._outcome = outcome
        self._given = given
        self._datasets: dict[str, Path] = {}
        self._globals: dict[str, Any] = {}
        self._info: dict[str, Any] = {}

    def offer(self, datasets: Mapping[str, Any], globals: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Take what the task may find."""
        self._datasets = {name: _dataset_path(self._directory, name, given) for name, given in datasets.items()}
        self._globals = dict(globals)
        self._outcome.state.update(state)

    def describe(self, node: str, labels: dict[str, str], iteration: int, seed: int) -> None:
        """Take what the task is told about itself."""
        self._info = {
            "swarm_id": "sw_testing",
            "swarm": "testing",
            "task": _TASK,
            "task_id": "tk_testing",
            "node": {"name": node, "labels": labels},
            "iteration": iteration,
            "attempt": "at_testing",
            "attempt_number": 0,
            "seed": seed,
            "datasets": list(self._datasets),
            "resources": {"cpu_count": float(os.cpu_count() or 1), "cpu_memory": _memory_bytes(), "disk": 2**30},
        }

    def serve(self) -> None:
        """Answer until the task closes its connection."""
        with self._sock:
            while True:
                try:
                    body, fds = _socket.receive_frame(self._sock)
                except (AgentConnectionLost, OSError):
                    return
                if "id" in body:
                    self._answer(body, fds)
                else:
                    self._note(body)

    def _answer(self, body: dict[str, Any], fds: list[int]) -> None:
        reply: dict[str, Any] = {"id": body["id"], "ok": True}
        sent: list[int] = []
        try:
            fields, sent = getattr(self, f"_on_{body['op']}")(body, fds)
            reply.update(fields)
        except Refusal as refusal:
            reply.update(ok=False, error=refusal.kind, message=str(refusal), hint=None)
        except Exception as error:
            reply.update(ok=False, error="platform", message=f"{type(error).__name__}: {error}", hint=None)
        try:
            _socket.send_frame(self._sock, reply, sent)
        finally:
            _socket.close_all(sent)

    def _note(self, body: dict[str, Any]) -> None:
        from manta.testing import LogLine

        if body["op"] == "log":
            self._outcome.logs.append(LogLine(body["level"], body["message"]))
        elif body["op"] == "metrics":
            self._outcome.metrics.append((body["values"], body["step"]))
        elif body["op"] == "progress":
            self._outcome.progress.append((body["done"], body["total"]))

    def _on_hello(self, body: dict[str, Any], fds: list[int]) -> Any:
        return self._info, []

    def _on_dataset(self, body: dict[str, Any], fds: list[int]) -> Any:
        path = self._datasets[body["name"]]
        if not path.exists():
            raise Refusal("dataset_missing", f'the dataset "{body["name"]}" is not at {path}')
        return {"path": str(path), "file": path.name}, []

    def _on_global_get(self, body: dict[str, Any], fds: list[int]) -> Any:
        return self._value(body["name"], self._globals, "global")

    def _on_global_set(self, body: dict[str, Any], fds: list[int]) -> Any:
        value = open_value(fds[0], "global")
        self._globals[body["name"]] = self._outcome.globals[body["name"]] = value
        return {}, []

    def _on_global_keys(self, body: dict[str, Any], fds: list[int]) -> Any:
        return {"names": sorted(self._globals)}, []

    def _on_result_add(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._outcome.results[body["name"]] = open_value(fds[0], "result")
        return {}, []

    def _on_select(self, body: dict[str, Any], fds: list[int]) -> Any:
        return self._given.select(body["name"], body.get("task")), []

    def _on_fetch(self, body: dict[str, Any], fds: list[int]) -> Any:
        return {}, [self._given.fetch(body["ref"])]

    def _on_state_get(self, body: dict[str, Any], fds: list[int]) -> Any:
        return self._value(body["name"], self._outcome.state, "state")

    def _on_state_set(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._outcome.state[body["name"]] = open_value(fds[0], "state")
        return {}, []

    def _on_schedule_next_iter(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._outcome.next_iteration.append({"node_ids": body["node_ids"], "task": body["task"]})
        return {}, []

    def _on_stop_swarm(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._outcome.stopped = True
        return {}, []

    def _on_metrics_now(self, body: dict[str, Any], fds: list[int]) -> Any:
        load = os.getloadavg()[0]
        return {"cpu_usage": min(1.0, load / (os.cpu_count() or 1)), "load": load}, []

    def _on_network_quality(self, body: dict[str, Any], fds: list[int]) -> Any:
        return {"quality": 1.0}, []

    def _value(self, name: str, values: Mapping[str, Any], kind: str) -> Any:
        if name not in values:
            return {"found": False, "names": sorted(values)}, []
        return {"found": True, "revision": 0}, [seal_value(values[name], f'{kind} "{name}"')]


def _by_node(name: str, values: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(values, Mapping):
        return dict(values)
    if isinstance(values, (list, tuple)):
        return {f"node-{index}": value for index, value in enumerate(values)}
    raise TypeError(f'results["{name}"] is a dict of node and value, or a list of values, not {values!r}')


def _dataset_path(directory: Path, name: str, given: Any) -> Path:
    if isinstance(given, (str, os.PathLike)):
        return Path(given).absolute()
    if isinstance(given, bytes):
        path = directory / f"{name}.bin"
        path.write_bytes(given)
        return path
    import numpy

    if isinstance(given, Mapping):
        path = directory / f"{name}.npz"
        numpy.savez(path, **given)
        return path
    path = directory / f"{name}.npy"
    numpy.save(path, numpy.asarray(given), allow_pickle=False)
    return path


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
