"""A task: a module, and which nodes run it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from manta import _codes
from manta._errors import AuthoringError, bad_argument
from manta.apis import _arguments, _graph
from manta.apis._module import Module
from manta.light._names import did_you_mean

_METHODS = ("all", "any", "random", "best_resources")
_TAG = "tag-"


class Task:
    """A module with the rule that chooses its nodes.

    Parameters
    ----------
    module : Module
        What to run.
    method : str
        ``"all"``, ``"any"``, ``"random"``, ``"best_resources"`` or ``"tag-<name>"``: which of the
        eligible nodes run it.
    maximum : int or float
        How many: -1 for no limit, an int of at least 1, or a share in (0, 1].
    gpu : bool
        Run only where a GPU is free.
    fixed : bool
        Keep the choice of iteration 0.
    excepted_ids : sequence of str, optional
        Nodes that never run it.
    specified_ids : sequence of str, optional
        The only nodes that may run it.
    network : str, optional
        Accepted for older swarms; task-to-task networks are not offered.
    alias : str, optional
        The task's name in the swarm.
    labels : mapping of str to str, optional
        Labels that a node must have.
    retries : int
        Further attempts on a node after user code failed.
    timeout : float or str, optional
        Seconds, or text such as ``"5m"``, that one attempt may run.
    quorum : int or float, optional
        Successes, or a share of the chosen nodes, that close the task run well.
    deadline : float or str, optional
        Seconds, or text, after which the task run closes.
    on_failure : str
        ``"fail"``, or ``"continue"`` with what succeeded.
    on_disconnect : str
        ``"keep"``: a node that is cut off goes on working.

    Raises
    ------
    AuthoringError
        If an argument cannot be used.

    Examples
    --------
    >>> Task(Module("worker", version="1.0.0"), method="random", maximum=0.2)
    Task('worker', method='random', maximum=0.2)
    """

    @_arguments.keywords
    def __init__(
        self,
        module: Module,
        method: str = "all",
        maximum: float = -1,
        gpu: bool = False,
        *,
        fixed: bool = False,
        excepted_ids: Iterable[str] | None = None,
        specified_ids: Iterable[str] | None = None,
        network: str | None = None,
        alias: str | None = None,
        labels: Mapping[str, str] | None = None,
        retries: int = 1,
        timeout: float | str | None = None,
        quorum: float | None = None,
        deadline: float | str | None = None,
        on_failure: str = "fail",
        on_disconnect: str = "keep",
    ) -> None:
        if not isinstance(module, Module):
            raise bad_argument(f"a task needs a Module, not {module!r}", hint='Task(Module("worker.py"))')
        self.module = module
        self.method = _method(method)
        self.maximum = _maximum(maximum)
        self.gpu = _arguments.flag("gpu", gpu)
        self.fixed = _arguments.flag("fixed", fixed)
        self.excepted_ids = _arguments.names("excepted_id", excepted_ids)
        self.specified_ids = None if specified_ids is None else _arguments.names("specified_id", specified_ids)
        self.network = None if network is None else _arguments.name("network", network)
        self.alias = None if alias is None else _arguments.component("task", alias)
        self.labels = _arguments.labels("labels", labels)
        self.retries = _arguments.count("retries", retries)
        self.timeout = _arguments.seconds("timeout", timeout)
        self.quorum = None if quorum is None else _count_or_share("quorum", quorum, _codes.BAD_ARGUMENT)
        self.deadline = _arguments.seconds("deadline", deadline)
        self.on_failure = _arguments.choice("on_failure", on_failure, ("fail", "continue"))
        self.on_disconnect = _arguments.choice("on_disconnect", on_disconnect, ("keep",))

    def __call__(
        self,
        previous: Any = None,
        condition: _graph.Condition = _graph.Condition.FINISHED,
    ) -> _graph.Vertex:
        """Place the task in the graph.

        Parameters
        ----------
        previous : Vertex or list of Vertex, optional
            The calls that this one follows.
        condition : Condition
            Only ``Condition.FINISHED``.

        Returns
        -------
        Vertex
            This call, for others to follow.

        Raises
        ------
        AuthoringError
            If ``previous`` is no call, or there is no such condition.
        """
        if condition is not _graph.Condition.FINISHED:
            raise bad_argument(f"`condition` is Condition.FINISHED, the only one there is, not {condition!r}")
        return _graph.call(self, previous)

    def __repr__(self) -> str:
        return f"Task({self.alias or self.module.name!r}, method={self.method!r}, maximum={self.maximum!r})"


def _method(method: object) -> str:
    if isinstance(method, str) and (method in _METHODS or (method.startswith(_TAG) and method != _TAG)):
        return method
    listed = ", ".join(f'"{known}"' for known in _METHODS)
    raise AuthoringError(
        _codes.UNKNOWN_METHOD,
        f'`method` is {listed} or "tag-<name>", not {method!r}',
        hint=did_you_mean(str(method), [*_METHODS, f"{_TAG}<name>"]),
    )


def _maximum(maximum: object) -> int | float:
    if maximum == -1 and type(maximum) is int:
        return -1
    return _count_or_share("maximum", maximum, _codes.BAD_MAXIMUM)


def _count_or_share(what: str, value: object, code: str) -> int | float:
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, float) and not math.isnan(value) and 0 < value <= 1:
        return float(value)
    unlimited = "-1 for no limit, " if what == "maximum" else ""
    message = f"`{what}` is {unlimited}an int of at least 1, or a share in (0, 1], not {value!r}"
    hint = None
    if isinstance(value, float) and value > 1 and value.is_integer():
        hint = f"write {int(value)} for {int(value)} nodes"
    raise AuthoringError(code, message, hint=hint)
