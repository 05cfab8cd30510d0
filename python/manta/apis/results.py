"""What tasks published, as the author of a swarm looks at it: by iteration, node and name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from manta.apis import _html
from manta.light._names import did_you_mean, quoted
from manta.light.errors import ResultNotFound

__all__ = ["Results", "RunResult"]

Read = Callable[[Mapping[str, Any], str], Any]
"""Reads the value of one entry; the second argument is how errors call it."""

ROWS_SHOWN = 100


class RunResult:
    """One value that a task published.

    Attributes
    ----------
    name, task, node : str
        Its name, and who published it.
    iteration : int
        Counted from 0.
    accepted : bool
        Whether it counts; what a failed attempt published does not.
    version : str
        The module's version that published it; empty where that is not told.

    Examples
    --------
    >>> told = {"name": "loss", "task": "worker", "node": "node-1", "iteration": 0, "summary": "0.5"}
    >>> entry = RunResult(told, lambda told, subject: 0.5)
    >>> entry.value, entry.accepted
    (0.5, True)
    >>> entry
    <result 'loss' of 'worker' on 'node-1', iteration 0: 0.5>
    """

    def __init__(self, told: Mapping[str, Any], read: Read) -> None:
        self.name = str(told["name"])
        self.task = str(told["task"])
        self.node = str(told["node"])
        self.iteration = int(told["iteration"])
        self.accepted = bool(told.get("accepted", True))
        self.version = str(told.get("version", ""))
        self._told = told
        self._read = read

    @property
    def value(self) -> Any:
        """The value, fetched whenever it is asked for."""
        return self._read(self._told, f'result "{self.name}" of "{self.node}"')

    @property
    def summary(self) -> str:
        """A line about the value, where one is known without fetching it."""
        size = self._told.get("blob", {}).get("size")
        return str(self._told.get("summary") or (f"{size} bytes" if size is not None else ""))

    def __repr__(self) -> str:
        where = f"{self.task!r} on {self.node!r}, iteration {self.iteration}"
        return f"<result {self.name!r} of {where}: {self.summary}>"


class Results(Sequence[RunResult]):
    """What a swarm published, in order: by iteration, node and name. Values are fetched when they are asked for.

    ``results["loss"]`` is ``{iteration: {node: value}}`` of what counts; ``results[0]`` is the first entry.

    Examples
    --------
    >>> results = Results([])
    >>> results.names, len(results)
    ((), 0)
    """

    def __init__(self, entries: Iterable[RunResult]) -> None:
        self._entries = tuple(entries)

    @property
    def iterations(self) -> tuple[int, ...]:
        """The iterations in which something was published, counted from 0."""
        return tuple(sorted({entry.iteration for entry in self._entries}))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that published something, sorted."""
        return tuple(sorted({entry.node for entry in self._entries}))

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which something was published, sorted."""
        return tuple(sorted({entry.name for entry in self._entries}))

    tags = names

    def select(
        self,
        name: str | None = None,
        *,
        node: str | None = None,
        task: str | None = None,
        iteration: int | None = None,
        accepted: bool | None = True,
    ) -> Results:
        """Return the entries that fit.

        Parameters
        ----------
        name, node, task : str, optional
            Only these.
        iteration : int, optional
            Only this one; -1 is the last in which something was published.
        accepted : bool, optional
            True: only what counts. False: only what failed attempts left. None: both.
        """
        if iteration is not None and iteration < 0:
            iteration = self.iterations[iteration] if self.iterations else None
        wanted = {"name": name, "node": node, "task": task, "iteration": iteration, "accepted": accepted}
        fits = [(key, value) for key, value in wanted.items() if value is not None]
        return Results(entry for entry in self._entries if all(getattr(entry, key) == value for key, value in fits))

    @overload
    def __getitem__(self, key: int) -> RunResult: ...

    @overload
    def __getitem__(self, key: slice) -> Results: ...

    @overload
    def __getitem__(self, key: str) -> dict[int, dict[str, Any]]: ...

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, slice):
            return Results(self._entries[key])
        if isinstance(key, int):
            return self._entries[key]
        found = self.select(key)
        if not found:
            there = f"there is {quoted(self.names)}" if self.names else "nothing was published"
            raise ResultNotFound(f'no result "{key}" counts; {there}', hint=did_you_mean(key, self.names))
        table: dict[int, dict[str, Any]] = {}
        for entry in found:
            row = table.setdefault(entry.iteration, {})
            row[f"{entry.node}/{entry.task}" if entry.node in row else entry.node] = entry.value
        return table

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RunResult]:
        return iter(self._entries)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each entry.

        Returns
        -------
        pandas.DataFrame
            Columns ``iteration``, ``task``, ``node``, ``name``, ``accepted`` and ``value``, with
            every value fetched.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas

        columns = ("iteration", "task", "node", "name", "accepted", "value")
        rows = [[getattr(entry, column) for column in columns] for entry in self._entries]
        return pandas.DataFrame(rows, columns=list(columns))

    def __repr__(self) -> str:
        size = f"{len(self.iterations)} iterations, {len(self.nodes)} nodes"
        return f"<{len(self)} results, {size}: {quoted(self.names)}>"

    def _repr_html_(self) -> str:
        rows = [
            (entry.iteration, entry.task, entry.node, entry.name, "" if entry.accepted else "failed", entry.summary)
            for entry in self._entries[:ROWS_SHOWN]
        ]
        left = len(self) - len(rows)
        return _html.table(("iteration", "task", "node", "name", "", "value"), rows, f"and {left} more" if left else "")
