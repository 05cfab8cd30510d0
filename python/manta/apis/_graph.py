"""The graph that a swarm's ``execute()`` draws: one vertex for each call of a task."""

from __future__ import annotations

import contextlib
import contextvars
import enum
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from manta._errors import bad_argument

if TYPE_CHECKING:
    from manta.apis._task import Task


class Condition(enum.Enum):
    """When a task follows its predecessors.

    Examples
    --------
    >>> Condition.FINISHED.value
    'finished'
    """

    FINISHED = "finished"
    """When their task runs have closed; the only condition there is."""


class Vertex:
    """One call of a task.

    Attributes
    ----------
    task : Task
        What was called.
    previous : tuple of Vertex
        The calls that it follows.

    Examples
    --------
    >>> worker = Task(Module("worker", version="1.0.0"))
    >>> mean = Task(Module("mean", version="1.0.0"), method="any")
    >>> last = mean(worker())
    >>> last.task is mean, len(last.previous)
    (True, 1)
    """

    def __init__(self, task: Task, previous: tuple[Vertex, ...]) -> None:
        self.task = task
        self.previous = previous

    def __repr__(self) -> str:
        after = f" after {len(self.previous)}" if self.previous else ""
        return f"<call of {self.task!r}{after}>"


class Graph:
    """The vertices of one trace, each after those that it follows."""

    def __init__(self) -> None:
        self.vertices: list[Vertex] = []
        self._known: set[int] = set()

    def add(self, vertex: Vertex) -> None:
        """Add a vertex, and before it whatever it follows and is not here yet."""
        pending = [(vertex, False)]
        while pending:
            current, ready = pending.pop()
            if id(current) in self._known:
                continue
            if ready:
                self._known.add(id(current))
                self.vertices.append(current)
                continue
            pending.append((current, True))
            pending.extend((before, False) for before in reversed(current.previous))


_tracing: contextvars.ContextVar[Graph | None] = contextvars.ContextVar("manta_trace", default=None)


@contextlib.contextmanager
def tracing() -> Iterator[Graph]:
    """Record every call of a task in the block."""
    graph = Graph()
    token = _tracing.set(graph)
    try:
        yield graph
    finally:
        _tracing.reset(token)


def call(task: Task, previous: Any) -> Vertex:
    """Return a new vertex, recorded if a trace is going on."""
    vertex = Vertex(task, _vertices(task, previous))
    graph = _tracing.get()
    if graph is not None:
        graph.add(vertex)
    return vertex


def _vertices(task: Task, previous: Any) -> tuple[Vertex, ...]:
    if previous is None or isinstance(previous, Condition):
        return ()
    if isinstance(previous, Vertex):
        return (previous,)
    if callable(previous):
        raise bad_argument(f"{task!r} follows a task that was not called", hint="call it: task() in place of task")
    if isinstance(previous, (str, bytes)) or not isinstance(previous, Iterable):
        raise bad_argument(f"{task!r} follows the call of a task, or a list of calls, not {previous!r}")
    found: list[Vertex] = []
    for entry in previous:
        found.extend(vertex for vertex in _vertices(task, entry) if vertex not in found)
    return tuple(found)
