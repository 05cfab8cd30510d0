"""The agent's side of the light protocol for an attempt of the past, from what the manager recorded of it."""

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manta._testing_agent import Agent, GivenResults, Refusal
from manta.light._names import did_you_mean, quoted
from manta.testing import TaskOutcome

_LEVELS = {"debug", "info", "warning", "error"}


class ReplayAgent(Agent):
    """Answers one task as its node did: with the recorded values, unread, straight from their files.

    Parameters
    ----------
    sock : socket.socket
        Connected to the task; this object owns it.
    folder : Path
        Holds ``values/``, by digest, and ``out/``, which takes what the task publishes.
    document : mapping
        The attempt, its module and the stand-ins for its datasets.
    """

    def __init__(self, sock: socket.socket, folder: Path, document: Mapping[str, Any]) -> None:
        super().__init__(sock, folder, TaskOutcome(), GivenResults({}, {}))
        self._folder = folder
        self._attempt: Mapping[str, Any] = document["attempt"]
        self._inputs: Mapping[str, Any] = self._attempt["inputs"]
        self._stand_ins: Mapping[str, str] = document["datasets"]
        self._pinned = {entry["name"]: entry for entry in self._inputs["globals"]}
        self._published: dict[str, Path] = {}
        self._written: dict[str, Path] = {}
        self._kept: dict[str, Path] = {}
        self._state_read: set[str] = set()
        self._next_iterations: list[dict[str, Any]] = []
        self._stop = False
        self._files = 0
        self._info = self._describe(document["module"])

    def left(self) -> dict[str, Any]:
        """Return what the task has left so far, with the names of files in ``out/``."""
        saved = {
            kind: [{"name": name, "file": path.name} for name, path in values.items()]
            for kind, values in (("results", self._published), ("globals", dict(sorted(self._written.items()))))
        }
        return {
            **saved,
            "next_iterations": self._next_iterations,
            "stop_swarm": self._stop,
            "state_read": sorted(self._state_read),
        }

    def _describe(self, module: Mapping[str, Any]) -> dict[str, Any]:
        attempt, limits = self._attempt, self._attempt["limits"]
        labels = [entry["labels"] for entry in self._inputs["results"] if entry["node"] == attempt["node"]]
        return {
            "swarm_id": attempt["swarm"],
            "swarm": attempt["swarm_name"],
            "task": attempt["task"],
            "task_id": f"{attempt['swarm']}/{attempt['task']}",
            "node": {"name": attempt["node"], "labels": dict(labels[0]) if labels else {}},
            "iteration": attempt["iteration"],
            "attempt": attempt["id"],
            "attempt_number": attempt["number"],
            "seed": attempt["seed"],
            "module": {name: module[name] for name in ("name", "version", "entry")},
            "datasets": attempt["datasets"],
            "node_datasets": list(self._stand_ins),
            "code": str(self._folder / "code"),
            "resources": {
                "cpu_count": limits.get("cpu", 1.0),
                "cpu_memory": limits.get("memory_bytes", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
                "disk": limits.get("tmp_bytes", 2**30),
            },
        }

    def _note(self, body: dict[str, Any]) -> None:
        if body["op"] == "log":
            level = body["level"] if body["level"] in _LEVELS else "info"
            print(f"{level}: {body['message']}", file=sys.stderr, flush=True)
        elif body["op"] == "metrics":
            values = " ".join(f"{name}={value}" for name, value in body["values"].items())
            print(f"metrics: {values}", file=sys.stderr, flush=True)

    def _on_dataset(self, body: dict[str, Any], fds: list[int]) -> Any:
        name = body["name"]
        if name in self._stand_ins:
            path = Path(self._stand_ins[name])
            return {"path": str(path), "file": path.name}, []
        raise Refusal("dataset_not_authorized", f'the module does not list the dataset "{name}"')

    def _on_global_get(self, body: dict[str, Any], fds: list[int]) -> Any:
        name = body["name"]
        revision = self._pinned[name]["revision"] if name in self._pinned else 0
        if name in self._written:
            return {"found": True, "revision": revision}, [_open(self._written[name])]
        if name in self._pinned:
            return {"found": True, "revision": revision}, [self._recorded(self._pinned[name]["blob"])]
        return {"found": False, "names": self._global_names()}, []

    def _on_global_keys(self, body: dict[str, Any], fds: list[int]) -> Any:
        return {"names": self._global_names()}, []

    def _on_global_set(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._written[body["name"]] = self._save(fds[0])
        return {}, []

    def _on_result_add(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._published[body["name"]] = self._save(fds[0])
        return {}, []

    def _on_select(self, body: dict[str, Any], fds: list[int]) -> Any:
        name, task = body["name"], body.get("task")
        if task is not None:
            self._check_known("unknown_task", "task", task, self._inputs["tasks"])
        self._check_iteration(body.get("iteration"))
        results = list(enumerate(self._inputs["results"]))
        wanted = [(ref, entry) for ref, entry in results if entry["name"] == name and task in (None, entry["task"])]
        if not wanted:
            published = sorted({(entry["name"], entry["task"]) for _, entry in results})
            return {"found": False, "published": [{"name": name, "task": task} for name, task in published]}, []
        nearest = min(entry["distance"] for _, entry in wanted)
        chosen = [(ref, entry) for ref, entry in wanted if entry["distance"] == nearest]
        chosen.sort(key=lambda pair: (pair[1]["node"], pair[1]["task"]))
        nodes = [entry["node"] for _, entry in chosen]
        entries = [
            {
                "key": f"{entry['node']}/{entry['task']}" if nodes.count(entry["node"]) > 1 else entry["node"],
                "node": entry["node"],
                "task": entry["task"],
                "iteration": entry["iteration"],
                "labels": entry["labels"],
                "ref": ref,
                "size": entry["blob"]["size"],
            }
            for ref, entry in chosen
        ]
        return {"found": True, "entries": entries, "missing": self._missing({entry["task"] for _, entry in chosen})}, []

    def _on_fetch(self, body: dict[str, Any], fds: list[int]) -> Any:
        return {}, [self._recorded(self._inputs["results"][body["ref"]]["blob"])]

    def _on_state_get(self, body: dict[str, Any], fds: list[int]) -> Any:
        name = body["name"]
        if name in self._kept:
            return {"found": True, "revision": 0}, [_open(self._kept[name])]
        self._state_read.add(name)
        return {"found": False, "names": sorted(self._kept)}, []

    def _on_state_set(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._kept[body["name"]] = self._save(fds[0])
        return {}, []

    def _on_schedule_next_iter(self, body: dict[str, Any], fds: list[int]) -> Any:
        if body["task"] is not None:
            self._check_known("unknown_task", "task", body["task"], self._inputs["tasks"])
        for node in body["node_ids"] or []:
            self._check_known("unknown_node", "node", node, self._inputs["nodes"])
        self._next_iterations.append({"task": body["task"], "nodes": body["node_ids"]})
        return {}, []

    def _on_stop_swarm(self, body: dict[str, Any], fds: list[int]) -> Any:
        self._stop = True
        return {}, []

    def _global_names(self) -> list[str]:
        return sorted({*self._pinned, *self._written})

    def _missing(self, tasks: "set[str]") -> dict[str, str]:
        gone = [entry for entry in self._inputs["missing"] if entry["task"] in tasks]
        several = len(tasks) > 1
        return {f"{entry['node']}/{entry['task']}" if several else entry["node"]: entry["reason"] for entry in gone}

    def _check_iteration(self, asked: "int | None") -> None:
        own, results = self._attempt["iteration"], self._inputs["results"]
        here = results[0]["iteration"] if results else own
        if asked is not None and asked not in ({here} if results else {own, own - 1}):
            message = f"results of iteration {asked} are not available here: this task reads those of iteration {here}"
            raise Refusal("iteration_not_available", message)

    @staticmethod
    def _check_known(kind: str, what: str, name: str, known: "list[str]") -> None:
        if name not in known:
            guess = did_you_mean(name, known) or f"there is {quoted(known)}"
            raise Refusal(kind, f'the swarm has no {what} "{name}"; {guess}')

    def _recorded(self, blob: Mapping[str, Any]) -> int:
        """Return a descriptor of a recorded value."""
        return _open(self._folder / "values" / str(blob["digest"]))

    def _save(self, fd: int) -> Path:
        """Keep what the task sent, as it is encoded."""
        path = self._folder / "out" / str(self._files)
        self._files += 1
        with open(fd, "rb") as sent, open(path, "wb") as file:
            sent.seek(0)
            shutil.copyfileobj(sent, file)
        return path


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
