"""A manager as a Python program uses it: deploy, watch and change swarms, and read what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from manta import _codes
from manta._errors import AuthoringError
from manta.apis import _html
from manta.apis._child import find_binary
from manta.apis._http import Connection
from manta.apis._run import RunGlobals
from manta.apis.results import Results, RunResult
from manta.light.utils import bytes_to_numpy

if TYPE_CHECKING:
    from manta.apis._swarm import Swarm

_ENDED = ("succeeded", "failed", "stopped")


class SwarmStatus(Mapping[str, Any]):
    """A swarm as the manager showed it at one moment: its fields by name.

    Attributes
    ----------
    id, name : str
        Which swarm it is.
    state : str
        ``"pending"``, ``"running"``, ``"paused"``, ``"succeeded"``, ``"failed"`` or ``"stopped"``.
    reason : str
        Why it is so, in words.

    Examples
    --------
    >>> status = SwarmStatus({"id": "sw_1", "name": "Averaging", "state": "succeeded", "iteration": 2})
    >>> status.is_over, status["iteration"]
    (True, 2)
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = dict(told)
        self.id = str(told["id"])
        self.name = str(told["name"])
        self.state = str(told["state"])
        self.reason = str(told.get("reason") or "")

    @property
    def is_over(self) -> bool:
        """Whether it succeeded, failed or was stopped."""
        return self.state in _ENDED

    def __getitem__(self, name: str) -> Any:
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<swarm {self.id} {self.name!r}: {self.state}, {self.reason}>"

    def _repr_html_(self) -> str:
        columns = ("task", "iteration", "state", "nodes", "accepted", "reason")
        rows = [[run.get(column, "") for column in columns] for run in self._told.get("task_runs", [])]
        rows += [[one["task"], one["iteration"], "waiting", "", "", one["reason"]] for one in self["waiting"]]
        return _html.heading(f"{self.name}: {self.state}", self.reason) + _html.table(columns, rows)


class UserAPI:
    """A manager, asked in a user's name. Every call waits for its answer; it may be used in a notebook.

    Where a call takes a ``swarm``, it is an id, the beginning of one, a name, or what ``deploy`` returned.

    Parameters
    ----------
    manager : str, optional
        Its address, ``http://host:port`` or ``unix:/path``. Default: ``MANTA_MANAGER``, else
        port 7766 of this machine.
    token : str, optional
        The user's token. Default: ``MANTA_TOKEN``, else what is in ``token_file``.
    token_file : path, optional
        Default: ``MANTA_TOKEN_FILE``.
    cluster : str, optional
        Default: ``MANTA_CLUSTER``, else the manager's first cluster.

    Raises
    ------
    AuthoringError
        If there is no token, or the address is none. Nothing is sent yet.

    Examples
    --------
    >>> api = UserAPI("http://127.0.0.1:7766", token="a token")
    >>> api
    <manager at http://127.0.0.1:7766, cluster 'default'>
    """

    def __init__(
        self,
        manager: str | None = None,
        token: str | None = None,
        *,
        token_file: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
    ) -> None:
        self._connection = Connection(manager, token, token_file, cluster)

    def deploy(
        self, swarm: Swarm, *, priority: int = 0, attempts_max: int | None = None, traceparent: str | None = None
    ) -> SwarmStatus:
        """Deploy a swarm, and return at once.

        Parameters
        ----------
        swarm : Swarm
            Traced here; its modules are packed and sent where the manager lacks them.
        priority : int
            Before swarms of lower priority wherever both wait.
        attempts_max : int, optional
            Attempts of it that may be live at once over all nodes.
        traceparent : str, optional
            The span that the swarm is put under, as W3C Trace Context has it; else ``TRACEPARENT`` of the environment.
            One that is malformed is ignored.

        Returns
        -------
        SwarmStatus
            The swarm as it is right after it was taken.

        Raises
        ------
        AuthoringError
            If the swarm cannot be deployed as it is, with every cause.
        """
        from manta._trace_document import write_trace

        with tempfile.TemporaryDirectory(prefix="manta-deploy-") as folder:
            write_trace(swarm, Path(folder))
            command = [find_binary(), "deploy", "--traced", folder, "--json", f"--priority={priority}"]
            command += ["--python", sys.executable]
            command += [] if attempts_max is None else ["--attempts-max", str(attempts_max)]
            environment = {**os.environ, **self._connection.environment()}
            environment |= {} if traceparent is None else {"TRACEPARENT": traceparent}
            done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
        document = _document(done.stdout)
        if done.returncode == 0 and "swarm" in document:
            return SwarmStatus(document["swarm"])
        told = document.get("error") or {}
        last = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        code, message = str(told.get("code") or _codes.BAD_ARGUMENT), str(told.get("message") or last)
        raise AuthoringError(code, message, hint=told.get("hint"))

    def swarms(self) -> list[SwarmStatus]:
        """Return all swarms, oldest first."""
        return [SwarmStatus(told) for told in self._connection.get("/swarms")]

    def swarm(self, swarm: str | SwarmStatus) -> SwarmStatus:
        """Return a swarm as it is now."""
        return SwarmStatus(self._connection.get(f"/swarms/{swarm}"))

    def wait(self, swarm: str | SwarmStatus, timeout: float | None = None) -> SwarmStatus:
        """Wait until a swarm is over, and return how it ended. A failed swarm is no exception.

        Parameters
        ----------
        swarm : str or SwarmStatus
            Which one.
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
            If it is not over by then; says what it does instead.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self.swarm(swarm)
            if status.is_over:
                return status
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"the swarm {status.name!r} is not over after {timeout} s: {status.reason}")
            time.sleep(0.05)

    def watch(self, swarm: str | SwarmStatus) -> Iterator[dict[str, Any]]:
        """Yield a swarm's events, from its first to its last, as they happen.

        Yields
        ------
        dict
            With ``seq``, ``time_ms``, ``message`` in words, and ``event``.

        Raises
        ------
        ManagerUnreachable
            If the manager is gone meanwhile.
        """
        after, is_over = 0, False
        while not is_over:  # a stream that breaks off goes on where it was
            for event in self._connection.stream(f"/swarms/{swarm}/events", after):
                after, kind = event["seq"], str(event["event"]["kind"])
                is_over = kind.startswith("swarm_") and kind.removeprefix("swarm_") in _ENDED
                yield event

    def events(self, swarm: str | SwarmStatus) -> list[dict[str, Any]]:
        """Return a swarm's events so far."""
        return self._pages(f"/swarms/{swarm}/events")

    def logs(
        self,
        swarm: str | SwarmStatus,
        *,
        task: str | None = None,
        node: str | None = None,
        iteration: int | None = None,
        level: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return what a swarm's tasks logged and printed so far.

        Parameters
        ----------
        swarm : str or SwarmStatus
            Which one.
        task, node : str, optional
            Only of these.
        iteration : int, optional
            Only of this one.
        level : str, optional
            ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``: this and what is more serious.

        Returns
        -------
        list of dict
            With ``time_ms``, ``node``, ``task``, ``iteration``, ``attempt``, ``level``,
            ``source``, ``text`` and maybe ``data``.
        """
        return self._pages(f"/swarms/{swarm}/logs", task=task, node=node, iteration=iteration, level=level)

    def results(self, swarm: str | SwarmStatus) -> Results:
        """Return what a swarm's tasks published so far; values are fetched when they are asked for."""
        entries = self._connection.get(f"/swarms/{swarm}/results")
        return Results(RunResult(entry, self._value) for entry in entries)

    def globals(self, swarm: str | SwarmStatus) -> RunGlobals:
        """Return a swarm's globals as they are now; values are fetched when they are asked for."""
        return RunGlobals(self._connection.get(f"/swarms/{swarm}/globals"), self._value)

    def why(self, swarm: str | SwarmStatus, task: str | None = None, iteration: int | None = None) -> dict[str, Any]:
        """Return why a swarm, or one of its tasks, is as it is.

        Parameters
        ----------
        swarm : str or SwarmStatus
            Which one.
        task : str, optional
            The alias of one of its tasks; left out, the swarm as a whole.
        iteration : int, optional
            The task in that iteration, counted from 0; left out, the current one.

        Returns
        -------
        dict
            Among others ``state``, ``reason``, ``nodes``, ``chain`` (the events that led there, latest
            first), ``notes`` (warnings of the platform in the task's log), ``would_change`` and ``text``.

        Raises
        ------
        ManagerRefused
            If there is no such swarm, task or iteration.
        """
        found = self._connection.get(f"/swarms/{swarm}/why", task=task, iteration=iteration)
        return dict(found)

    def stop(self, swarm: str | SwarmStatus) -> SwarmStatus:
        """End a swarm.

        Returns
        -------
        SwarmStatus
            The swarm, which is over.
        """
        return self._change(swarm, "stop")

    def pause(self, swarm: str | SwarmStatus) -> SwarmStatus:
        """Hold a swarm: what runs may end, nothing starts.

        Returns
        -------
        SwarmStatus
            The swarm, now held.
        """
        return self._change(swarm, "pause")

    def resume(self, swarm: str | SwarmStatus) -> SwarmStatus:
        """Let a paused swarm go on.

        Returns
        -------
        SwarmStatus
            The swarm, going on.
        """
        return self._change(swarm, "resume")

    def retry(self, swarm: str | SwarmStatus) -> SwarmStatus:
        """Let a new swarm go on where one that failed stopped, and return the new one."""
        return self._change(swarm, "retry")

    def nodes(self) -> list[dict[str, Any]]:
        """Return the cluster's nodes by name, each with its state, labels, datasets and places."""
        return [dict(node) for node in self._connection.get("/nodes")]

    def drain(self, node: str, deadline: float | None = None) -> dict[str, Any]:
        """Take a node out of use: what runs there may end, for ``deadline`` seconds at most; nothing new comes.

        Parameters
        ----------
        node : str
            Its name.
        deadline : float, optional
            Seconds.

        Returns
        -------
        dict
            The node as it is now.
        """
        deadline_ms = None if deadline is None else int(deadline * 1000)
        return dict(self._connection.change(f"/nodes/{node}/drain", deadline_ms=deadline_ms))

    def resume_node(self, node: str) -> dict[str, Any]:
        """Take a node into use again.

        Parameters
        ----------
        node : str
            Its name.

        Returns
        -------
        dict
            The node as it is now.
        """
        return dict(self._connection.change(f"/nodes/{node}/resume"))

    def modules(self) -> list[dict[str, Any]]:
        """Return the modules that are published, by name."""
        return [dict(module) for module in self._connection.get("/modules")]

    def module(self, name: str) -> list[dict[str, Any]]:
        """Return all versions of a published module, the newest first, each with what it works with.

        Parameters
        ----------
        name : str
            The module's name.

        Raises
        ------
        ManagerRefused
            If no module of that name is published.
        """
        return [dict(version) for version in self._connection.get(f"/modules/{quote(name, safe='')}")]

    def __repr__(self) -> str:
        return f"<manager at {self._connection.address}, cluster {self._connection.cluster!r}>"

    def _change(self, swarm: str | SwarmStatus, what: str) -> SwarmStatus:
        return SwarmStatus(self._connection.change(f"/swarms/{swarm}/{what}"))

    def _pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self._connection.get(path, after=found[-1]["seq"] if found else 0, **query):
            found += page
        return found

    def _value(self, told: Mapping[str, Any], subject: str) -> Any:
        return bytes_to_numpy(self._connection.bytes_of(told["blob"]["digest"]))


def _document(output: bytes) -> dict[str, Any]:
    lines = output.decode("utf-8", "replace").strip()
    for text in (lines, lines.rpartition("\n")[2]):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}
