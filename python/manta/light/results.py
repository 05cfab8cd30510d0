"""What tasks publish for the tasks behind them."""

from typing import Any, AsyncIterator, Dict, Iterator, List, Mapping, Optional, Tuple, TypeVar, Union, overload

from . import _attempt
from ._async import twin
from ._memory import open_value, publish
from ._names import Name, check_name, did_you_mean, quoted
from .errors import InvalidArgument, ResultNotFound

__all__ = ["ResultKey", "Results", "Selection"]

_Default = TypeVar("_Default")
_MISSING = object()


class ResultKey(Name):
    """The key of one published result: the node's name, or ``node/alias`` where one name is not enough.

    Attributes
    ----------
    node : str
        The node that published it.
    task : str
        The alias of the task that published it.
    iteration : int
        The iteration in which it was published.
    labels : mapping of str to str
        The node's labels.

    Examples
    --------
    >>> key = ResultKey.from_entry({"key": "node-1", "node": "node-1", "task": "worker", "iteration": 2})
    >>> key == "node-1", key.task, key.iteration, key.labels
    (True, 'worker', 2, {})
    """

    node: str
    task: str
    iteration: int
    labels: Mapping[str, str]

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "ResultKey":
        """Return the key of one entry of the agent's answer."""
        key = cls(entry["key"])
        key.node, key.task = str(entry["node"]), str(entry["task"])
        key.iteration = int(entry["iteration"])
        key.labels = {str(name): str(value) for name, value in entry.get("labels", {}).items()}
        return key


class Selection(Mapping[str, Any]):
    """An ordered, read-only mapping of the results published under one name.

    Values are fetched one at a time, when they are asked for, and not kept: going through
    ``values()`` needs the memory of one of them. Two selections of the same predecessors have
    the same order.

    Attributes
    ----------
    name : str
        The name under which the results were published.
    missing : mapping of str to str
        Nodes of which no result is there, each with the reason.

    Examples
    --------
    >>> class Sum(Task):
    ...     def run(self):
    ...         counts = self.world.results.select("count")
    ...         by_region = counts.group_by("region")
    ...         self.world.results.add("sums", {region: sum(group.values()) for region, group in by_region.items()})
    >>> labels = {"node-0": {"region": "north"}, "node-1": {"region": "south"}, "node-2": {"region": "north"}}
    >>> run_task(Sum, results={"count": [1, 2, 3]}, labels=labels).results
    {'sums': {'north': 4, 'south': 2}}
    """

    def __init__(self, name: str, refs: Mapping[ResultKey, int], missing: Mapping[str, str]) -> None:
        self.name = name
        self.missing = dict(missing)
        self._refs = dict(refs)

    def __getitem__(self, key: str) -> Any:
        if key not in self._refs:
            raise self._no_such_key(key)
        reply = _attempt.current("world.results").request("fetch", ref=self._refs[key])  # type: ignore[index]
        return open_value(reply.take_descriptor(), f'result "{self.name}" of "{key}"')

    def __iter__(self) -> Iterator[ResultKey]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __contains__(self, key: object) -> bool:
        return key in self._refs

    def group_by(self, label: str) -> "Dict[Optional[str], Selection]":
        """Split the selection by a label of the nodes.

        Parameters
        ----------
        label : str
            The label's name.

        Returns
        -------
        dict of (str or None) to Selection
            One selection a value of the label, in the order of first appearance; nodes without
            the label stand under ``None``.
        """
        groups: Dict[Optional[str], Dict[ResultKey, int]] = {}
        for key, ref in self._refs.items():
            groups.setdefault(key.labels.get(label), {})[key] = ref
        return {value: Selection(self.name, refs, {}) for value, refs in groups.items()}

    async_get = twin(Mapping.get)

    async def async_items(self) -> AsyncIterator[Tuple[ResultKey, Any]]:
        """Yield each key with its value, fetched when it is asked for, and let the event loop go on meanwhile."""
        for key in self:
            yield key, await self.async_get(key)

    async def async_values(self) -> AsyncIterator[Any]:
        """Yield the values, each fetched when it is asked for, and let the event loop go on meanwhile."""
        async for _, value in self.async_items():
            yield value

    def __repr__(self) -> str:
        lost = f", {len(self.missing)} missing" if self.missing else ""
        return f'Selection("{self.name}": {quoted(self._refs)}{lost})'

    def _no_such_key(self, key: str) -> ResultNotFound:
        if key in self.missing:
            return ResultNotFound(f'result "{self.name}" of "{key}" is missing: {self.missing[key]}')
        message = f'result "{self.name}" has nothing from "{key}"; there is {quoted(self._refs)}'
        return ResultNotFound(message, hint=did_you_mean(str(key), self._refs))


class Results:
    """Publish results, and select those of the tasks before this one.

    Examples
    --------
    >>> class Relay(Task):
    ...     def run(self):
    ...         models, weights = self.world.results.select("model"), self.world.results.select("weight", default={})
    ...         self.world.results.add("seen", [sorted(map(str, models)), len(weights)])
    >>> run_task(Relay, results={"model": {"a": 1.0, "b": 2.0}}).results
    {'seen': [['a', 'b'], 0]}
    """

    def add(self, name: str, value: Any) -> None:
        """Publish ``value`` under ``name``.

        It counts if the attempt is accepted. A second ``add`` of a name replaces the first.

        Parameters
        ----------
        name : str
            The name that ``select`` will ask for.
        value : object
            Anything that the value format carries, of any size.

        Raises
        ------
        ValueNotCarried
            If some part of the value cannot be carried; names the part and what to write instead.
        """
        attempt = _attempt.current("world.results")
        publish(attempt, "result_add", name, value, f'result "{check_name("result", name)}"')

    @overload
    def select(self, name: str, *, task: Optional[str] = ..., iteration: Optional[int] = ...) -> Selection: ...

    @overload
    def select(
        self, name: str, *, task: Optional[str] = ..., iteration: Optional[int] = ..., default: _Default
    ) -> Union[Selection, _Default]: ...

    def select(
        self,
        name: str,
        *,
        task: Optional[str] = None,
        iteration: Optional[int] = None,
        default: Any = _MISSING,
    ) -> Any:
        """Return what the tasks before this one published under ``name``.

        Parameters
        ----------
        name : str
            The name given to ``add``.
        task : str, optional
            Only results of the task with this alias.
        iteration : int, optional
            Results of that iteration. Left out: this one's, or in a task without predecessors
            the previous one's.
        default : object, optional
            What to return where there is nothing; left out, that is an error.

        Returns
        -------
        Selection
            Node to value, in a stable order.

        Raises
        ------
        ResultNotFound
            If nobody published the name; says what was published.
        InvalidArgument
            If an argument is no name, or no iteration.
        """
        check_name("result", name)
        if task is not None:
            check_name("task", task)
        if iteration is not None and (type(iteration) is not int or iteration < 0):
            raise InvalidArgument(f"`iteration` is an int of at least 0, not {iteration!r}")
        attempt = _attempt.current("world.results")
        fields = attempt.request("select", name=name, task=task, iteration=iteration).fields
        if fields.get("found") and fields["entries"]:
            refs = {ResultKey.from_entry(entry): int(entry["ref"]) for entry in fields["entries"]}
            return Selection(name, refs, fields.get("missing", {}))
        if default is not _MISSING:
            return default
        raise _nothing_found(name, fields)

    async_add = twin(add)
    async_select = twin(select)


def _nothing_found(name: str, fields: Mapping[str, Any]) -> ResultNotFound:
    missing = fields.get("missing", {})
    if missing:
        reasons = "; ".join(f"{node}: {reason}" for node, reason in missing.items())
        return ResultNotFound(f'no node left a result "{name}": {reasons}')
    published: List[Mapping[str, Any]] = fields.get("published", [])
    names = [str(entry["name"]) for entry in published]
    if not names:
        return ResultNotFound(f'no result "{name}": the tasks before this one published nothing')
    publishers: Dict[str, List[str]] = {}
    for entry in published:
        publishers.setdefault(str(entry["name"]), []).append(str(entry["task"]))
    listed = "; ".join(f'"{entry}" by {", ".join(sorted(set(by)))}' for entry, by in publishers.items())
    return ResultNotFound(
        f'no result "{name}" was published by the tasks before this one; there is {listed}',
        hint=did_you_mean(name, names),
    )
