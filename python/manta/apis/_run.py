"""Runs a swarm on this machine: the whole platform in a child, spoken to by options and JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manta import _codes
from manta._errors import AuthoringError, bad_argument
from manta.apis import _arguments, _html
from manta.apis._child import find_binary, run_to_end
from manta.apis.results import Read, Results, RunResult
from manta.light._memory import open_value
from manta.light._names import did_you_mean, quoted
from manta.light.errors import GlobalNotFound, MantaError

if TYPE_CHECKING:
    from manta.apis._swarm import Swarm

_ENDED = ("succeeded", "failed", "stopped")

_forbidden = False


class RunGlobals(Mapping[str, Any]):
    """A swarm's globals, by name; each is read when it is asked for."""

    def __init__(self, told: Sequence[Mapping[str, Any]], read: Read) -> None:
        self._told = {str(entry["name"]): entry for entry in told}
        self._read = read

    def __getitem__(self, name: str) -> Any:
        if name not in self._told:
            message = f'the swarm has no global "{name}"; it has {quoted(self._told) or "none"}'
            raise GlobalNotFound(message, hint=did_you_mean(str(name), self._told))
        return self._read(self._told[name], f'global "{name}"')

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)

    def __repr__(self) -> str:
        return f"RunGlobals({quoted(self._told)})"


class Run:
    """How a swarm ended, and what it left. Its values are kept on disk as long as this object lives.

    Attributes
    ----------
    status : str
        ``"succeeded"``, ``"failed"`` or ``"stopped"``.
    reason : str
        Why it ended so.
    iterations : int
        Iterations that were run.
    globals : mapping of str to object
        The globals at the end.
    results : Results
        What was published, all iterations.
    document : dict
        The whole JSON document of ``manta run``.

    Examples
    --------
    >>> told = {"status": "succeeded", "iterations": 2, "globals": [{"name": "rate", "value": 0.1}]}
    >>> run = Run(told)
    >>> run.ok, run.iterations, run.globals["rate"]
    (True, 2, 0.1)
    """

    def __init__(self, document: dict[str, Any]) -> None:
        rows = document.get("iterations", 0)
        self.status = str(document["status"])
        self.reason = str(document.get("reason") or "")
        self.iterations = len(rows) if isinstance(rows, list) else int(rows)
        self.globals = RunGlobals(document.get("globals", []), _value)
        self.results = Results(RunResult(entry, _value) for entry in document.get("results", []))
        self.document = document

    @property
    def ok(self) -> bool:
        """Whether the swarm succeeded."""
        return self.status == "succeeded"

    def __repr__(self) -> str:
        return f"<run {self.status} after {self.iterations} iterations: {len(self.results)} results>"

    def _repr_html_(self) -> str:
        told = _html.heading(f"{self.status} after {self.iterations} iterations", self.reason)
        failures = self.document.get("failures") or []
        columns = ("task", "node", "iteration", "class", "message")
        rows = [[failure.get(column, "") for column in columns] for failure in failures]
        return told + (_html.table(columns, rows) if rows else "") + self.results._repr_html_()


def run_swarm(swarm: Swarm, nodes: Any, data: Any, timeout: float | None, args: Sequence[str]) -> Run:
    """Trace ``swarm`` here, run it in a child, and wait for its end."""
    from manta._trace_document import write_trace

    if _forbidden:
        raise AuthoringError(
            _codes.SWARM_FILE,
            "the swarm's file runs a swarm while it is imported",
            hint='put the call under `if __name__ == "__main__":`',
        )
    binary = find_binary()
    options = [*_node_options(nodes), *_data_options(data, _node_names(nodes))]
    # The child removes what it was given, even where this process is killed; what it saves comes to be at its end.
    traced = Path(tempfile.mkdtemp(prefix="manta-run-"))
    values = traced.with_name(f"{traced.name}-values")
    try:
        write_trace(swarm, traced)
        command = [binary, "run", "--traced", str(traced), "--owned-dir", str(traced), "--out", str(values)]
        command += ["--lifeline", "--json", "--python", sys.executable, *options, *args]
        run = _outcome(*run_to_end(command, timeout))
    except BaseException:
        shutil.rmtree(values, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(traced, ignore_errors=True)
    weakref.finalize(run, shutil.rmtree, values, ignore_errors=True)
    return run


@contextlib.contextmanager
def forbid_runs() -> Iterator[None]:
    """Refuse ``swarm.run()`` in the block: a swarm file is being imported to be run already."""
    global _forbidden
    before, _forbidden = _forbidden, True
    try:
        yield
    finally:
        _forbidden = before


def _node_names(nodes: int | Mapping[str, Mapping[str, str]]) -> list[str]:
    if isinstance(nodes, Mapping):
        return [_arguments.name("node", name) for name in nodes]
    return [f"node-{number}" for number in range(1, _arguments.count("nodes", nodes, 1) + 1)]


def _node_options(nodes: int | Mapping[str, Mapping[str, str]]) -> list[str]:
    if not isinstance(nodes, Mapping):
        return ["--nodes", str(_arguments.count("nodes", nodes, 1))]
    options = []
    for name, labels in nodes.items():
        checked = _arguments.labels(f'nodes["{name}"]', labels)
        pairs = ",".join(f"{key}={value}" for key, value in checked.items())
        options += ["--node", f"{name}:{pairs}" if pairs else name]
    return options


def _data_options(data: Any, nodes: Sequence[str]) -> list[str]:
    if data is None:
        return []
    if isinstance(data, (str, os.PathLike)):
        return ["--data", os.path.abspath(data)]
    if isinstance(data, Mapping):
        return [part for node, given in data.items() for part in _data_of_node(node, given)]
    if isinstance(data, Sequence):
        if len(data) != len(nodes):
            raise bad_argument(f"`data` has {len(data)} entries for {len(nodes)} nodes", hint="one for each node")
        return [part for node, given in zip(nodes, data, strict=True) for part in _data_of_node(node, given)]
    raise bad_argument(f"`data` is a path, a list with one for each node, or a dict of node and path, not {data!r}")


def _data_of_node(node: str, given: Any) -> list[str]:
    """Return the options of one node: one path, or dataset name to path."""
    named = given if isinstance(given, Mapping) else {"": given}
    options = []
    for dataset, path in named.items():
        if not isinstance(path, (str, os.PathLike)):
            raise bad_argument(f"the data of the node {node!r} is a path, or a dict of dataset and path, not {path!r}")
        options += ["--data", f"{node}:{dataset}={os.path.abspath(path)}"]
    return options


def _outcome(code: int, output: bytes) -> Run:
    document = _last_document(output)
    if document.get("status") in _ENDED:
        return Run(document)
    told = document.get("error") or {}
    message = str(told.get("message") or f"`manta run` ended with exit code {code} and no document")
    raise AuthoringError(str(told.get("code") or MantaError.code), message, hint=told.get("hint"))


def _last_document(output: bytes) -> dict[str, Any]:
    """Return the last JSON object of the output, whether it spans lines or not."""
    text = output.decode("utf-8", "replace").strip()
    for candidate in (text, text.rpartition("\n")[2]):
        with contextlib.suppress(ValueError):
            document = json.loads(candidate)
            if isinstance(document, dict):
                return document
    return {}


def _value(told: Mapping[str, Any], subject: str) -> Any:
    if told.get("file"):
        return open_value(os.open(told["file"], os.O_RDONLY | os.O_CLOEXEC), subject)
    if "value" in told:
        return told["value"]
    raise MantaError(f"{subject} was not saved")
