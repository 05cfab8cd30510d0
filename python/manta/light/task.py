"""The class that task code subclasses, and the errors it most often names."""

import logging
from typing import Any, Callable, Generic, Mapping, Optional, Type, TypeVar

from . import _attempt, _logger
from ._metrics import Metrics, Number, send_progress
from ._names import Name
from .errors import DataCorruptionError, ResourceExhaustionError
from .local import Local
from .world import World

__all__ = ["DataCorruptionError", "Node", "ResourceExhaustionError", "Task"]

_T = TypeVar("_T")


class _Bound(Generic[_T]):
    """An attribute that belongs to the process's attempt, made when it is first read.

    It is no data descriptor: a subclass may keep something of its own under the name.
    """

    def __init__(self, make: Callable[[], _T], doc: str) -> None:
        self._make = make
        self.__doc__ = doc

    def __get__(self, instance: object, owner: Optional[Type[Any]] = None) -> _T:
        return self._make()


class Node(Name):
    """The name of the node that runs the attempt.

    Attributes
    ----------
    labels : mapping of str to str
        What the node's operator says about it.

    Examples
    --------
    >>> class Where(Task):
    ...     def run(self):
    ...         self.world.results.add("where", [str(self.node), dict(self.node.labels)])
    >>> run_task(Where, node="node-3", labels={"node-3": {"region": "south"}}).results["where"]
    ['node-3', {'region': 'south'}]
    """

    labels: Mapping[str, str]


def _info(name: str) -> Any:
    return _attempt.current(f"self.{name}").info


def _node() -> Node:
    told = _info("node")["node"]
    node = Node(told["name"])
    node.labels = dict(told.get("labels", {}))
    return node


class Task:
    """The base of all task classes: subclass it and write ``run``.

    Every instance in a process is bound to the one attempt that the process runs, whether or not
    ``__init__`` calls ``super().__init__()``.

    Examples
    --------
    >>> class Mean(Task):
    ...     def run(self):
    ...         data = self.local.get_dataset("heights").to_numpy()
    ...         self.world.results.add("mean", data.mean())
    """

    local: _Bound[Local] = _Bound(Local, "What the node offers: datasets, resources, state.")
    world: _Bound[World] = _Bound(World, "What the swarm shares: globals and results.")
    logger: _Bound[logging.Logger] = _Bound(_logger.task_logger, "Log lines that reach the manager.")
    metrics: _Bound[Metrics] = _Bound(Metrics, "Live charts.")
    task_id: _Bound[str] = _Bound(lambda: str(_info("task_id")["task_id"]), "This task's id.")
    swarm_id: _Bound[str] = _Bound(lambda: str(_info("swarm_id")["swarm_id"]), "The swarm's id.")
    node: _Bound[Node] = _Bound(_node, "The name of the node, with ``.labels``.")
    iteration: _Bound[int] = _Bound(lambda: int(_info("iteration")["iteration"]), "Counted from 0.")
    attempt: _Bound[int] = _Bound(lambda: int(_info("attempt")["attempt_number"]), "Which try this is, counted from 0.")
    seed: _Bound[int] = _Bound(
        lambda: int(_info("seed")["seed"]),
        "63 bits, equal in all attempts of the same swarm, iteration, task and node.",
    )

    def run(self) -> Any:
        """Do the work; the platform calls it once."""
        raise NotImplementedError(f"{type(self).__qualname__} has no run() of its own")

    def progress(self, done: Number, total: Optional[Number] = None) -> None:
        """Show how far the work has come.

        Parameters
        ----------
        done : number
            What is done, in any unit.
        total : number, optional
            What there is to do, in the same unit.
        """
        send_progress(done, total)
