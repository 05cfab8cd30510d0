"""A swarm: tasks, the graph between them, and the values they share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from manta import _codes
from manta._errors import AuthoringError, bad_argument
from manta.apis import _arguments, _graph
from manta.apis._task import Task
from manta.light._values import encode

if TYPE_CHECKING:
    from manta.apis._run import Run

_DECLARED = ("name", "max_iteration", "globals")


class Swarm:
    """A user's algorithm. Subclass it: tasks are attributes, ``execute`` draws the graph.

    ``name``, ``max_iteration`` and ``globals`` may be attributes of the subclass, too.

    Parameters
    ----------
    max_iteration : int, optional
        Loop this many times, unless stopped. Left out: once, and again when a task asks for it.
    name : str, optional
        Default: the class's name.

    Examples
    --------
    >>> class Averaging(Swarm):
    ...     def __init__(self):
    ...         self.worker = Task(Module("worker", version="1.0.0"))
    ...         self.aggregator = Task(Module("mean", version="1.0.0"), method="any", maximum=1)
    ...         self.set_global("rate", 0.1)
    ...
    ...     def execute(self):
    ...         return self.aggregator(self.worker())
    """

    _swarm_name: str | None
    _max_iteration: int | None
    _globals: dict[str, Any]
    _declared: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take ``name``, ``max_iteration`` and ``globals`` that a subclass has as plain attributes."""
        super().__init_subclass__(**kwargs)
        written = {name: cls.__dict__[name] for name in _DECLARED if name in cls.__dict__}
        declared = {name: value for name, value in written.items() if not isinstance(value, property)}
        for name in declared:
            delattr(cls, name)
        cls._declared = {**cls._declared, **declared}

    def __new__(cls, *args: Any, **kwargs: Any) -> Swarm:
        """Prepare what a subclass may leave out by not calling ``super().__init__()``."""
        swarm = super().__new__(cls)
        swarm._swarm_name = None
        swarm._max_iteration = None
        swarm._globals = {}
        for attribute, value in cls._declared.items():
            setattr(swarm, attribute, value)
        return swarm

    def __init__(self, max_iteration: int | None = None, name: str | None = None) -> None:
        if max_iteration is not None:
            self.max_iteration = max_iteration
        if name is not None:
            self.name = name

    @classmethod
    def from_graph(cls, name: str, *vertices: _graph.Vertex, max_iteration: int | None = None) -> Swarm:
        """Make a swarm of calls that were made outside a swarm.

        Parameters
        ----------
        name : str
            The swarm's name.
        *vertices : Vertex
            The last calls; what they follow belongs to the swarm, too.
        max_iteration : int, optional
            As for ``Swarm``.
        """
        if not vertices or not all(isinstance(vertex, _graph.Vertex) for vertex in vertices):
            raise bad_argument("from_graph takes a name and one or more calls of tasks")
        swarm = _Drawn(max_iteration, name)
        swarm.last = vertices
        return swarm

    @property
    def name(self) -> str:
        """The swarm's name; the class's where none is given."""
        return self._swarm_name or type(self).__name__

    @name.setter
    def name(self, value: str) -> None:
        self._swarm_name = _arguments.name("swarm", value)

    @property
    def max_iteration(self) -> int | None:
        """How often the graph runs; None: once, and again when a task asks for it."""
        return self._max_iteration

    @max_iteration.setter
    def max_iteration(self, value: int | None) -> None:
        self._max_iteration = None if value is None else _arguments.count("max_iteration", value, 1)

    @property
    def globals(self) -> dict[str, Any]:
        """The values that every task can read from the start, by name."""
        return self._globals

    @globals.setter
    def globals(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise bad_argument(f"`globals` is a dict of name and value, not {values!r}")
        self._globals = {}
        for name, value in values.items():
            self.set_global(name, value)

    def set_global(self, name: str, value: Any) -> None:
        """Give a global its first value.

        Parameters
        ----------
        name : str
            For ``world.globals[name]`` in a task.
        value : object
            Anything that the value format carries, of any size.

        Raises
        ------
        ValueNotCarried
            If some part of the value cannot be carried.
        """
        encode(value, f'global "{_arguments.name("global", name)}"')
        self._globals[name] = value

    def add_network(self, name: str, driver: str | None = None) -> None:
        """Accept a network for older swarms; task-to-task networks are not offered.

        Parameters
        ----------
        name : str
            The network's name.
        driver : str, optional
            Is not looked at.
        """
        warnings.warn(
            f'the network "{name}" is ignored: tasks exchange values through results and globals',
            stacklevel=2,
        )

    def execute(self) -> Any:
        """Draw the graph: call the tasks, and return the last call or a list of the last calls.

        A swarm without ``execute`` of its own runs all its tasks side by side.

        Returns
        -------
        Vertex or list of Vertex
            The last call or calls; what they follow belongs to the swarm, too.
        """
        tasks = [task for _, task in self._named_tasks()]
        return [task() for task in tasks]

    def run(
        self,
        nodes: int | Mapping[str, Mapping[str, str]] = 4,
        data: str | os.PathLike[str] | Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        args: Sequence[str] = (),
    ) -> Run:
        """Run the swarm on this machine, on the same platform as on a fleet, and wait for its end.

        Parameters
        ----------
        nodes : int or mapping
            How many nodes, or their names with their labels.
        data : path, list or mapping, optional
            A directory of datasets for all nodes, a list with one for each, or node name to path.
        timeout : float, optional
            Seconds after which the swarm is given up.
        args : sequence of str
            Further arguments for ``manta run``.

        Returns
        -------
        Run
            How it ended. A failed swarm is no exception: look at ``run.status``.

        Raises
        ------
        MantaError
            If the swarm is refused, or the ``manta`` program cannot be found.
        """
        from manta.apis._run import run_swarm

        return run_swarm(self, nodes, data, timeout, args)

    def __repr__(self) -> str:
        return f"<swarm {self.name!r}, {sum(1 for _ in self._named_tasks())} tasks>"

    def _repr_html_(self) -> str:
        from manta.apis import _html
        from manta.apis._aliases import aliases_of

        vertices = self._draw()
        looped = "" if self.max_iteration is None else f"{self.max_iteration} iterations"
        return _html.heading(self.name, looped) + _html.graph(vertices, aliases_of(self, vertices))

    def _draw(self) -> list[_graph.Vertex]:
        """Run ``execute`` and return the graph's vertices, each after those that it follows."""
        with _graph.tracing() as graph:
            last = self.execute()
            returned = list(last) if isinstance(last, (list, tuple)) else [last]
            for vertex in returned:
                if not isinstance(vertex, _graph.Vertex):
                    raise _not_a_vertex(self, last, vertex)
                graph.add(vertex)
        if not graph.vertices:
            message = f"the swarm {self.name!r} has no tasks"
            raise AuthoringError(_codes.BAD_GRAPH, message, hint="make tasks attributes: self.worker = Task(...)")
        return graph.vertices

    def _named_tasks(self) -> Iterator[tuple[str, Task]]:
        """Yield each task once, with the attribute that holds it."""
        seen: set[int] = set()
        classes = [vars(kind) for kind in reversed(type(self).__mro__)]
        for attributes in (*classes, vars(self)):
            for attribute, value in attributes.items():
                for name, task in _tasks_in(attribute, value):
                    if id(task) not in seen:
                        seen.add(id(task))
                        yield name, task


class _Drawn(Swarm):
    """A swarm of vertices that exist already."""

    last: tuple[_graph.Vertex, ...] = ()

    def execute(self) -> Any:
        """Return the calls that the swarm was made of."""
        return list(self.last)


def _tasks_in(name: str, value: Any) -> Iterator[tuple[str, Task]]:
    if isinstance(value, Task):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _tasks_in(f"{name}[{index}]", entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _tasks_in(f"{name}[{key}]", entry)


def _not_a_vertex(swarm: Swarm, returned: Any, entry: Any) -> AuthoringError:
    shown = repr(returned)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    hint = "return the last call, e.g. `return self.aggregator(self.worker())`, or a list of calls"
    if isinstance(entry, Task):
        hint = "call the task: `return self.worker()` in place of `return self.worker`"
    message = f"{type(swarm).__name__}.execute() returned {shown}, which is no call of a task"
    code = type(swarm).execute.__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    return AuthoringError(_codes.BAD_GRAPH, message, hint=hint, where=where)
