"""Names the tasks of a graph: every vertex gets an alias of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from manta._errors import bad_argument
from manta.apis._graph import Vertex
from manta.apis._task import Task

if TYPE_CHECKING:
    from manta.apis._swarm import Swarm


def task_aliases(tasks: Iterable[Task], attributes: Mapping[int, str]) -> dict[int, str]:
    """Return each task's alias, by the task's ``id()``.

    Parameters
    ----------
    tasks : iterable of Task
        The swarm's tasks, each once.
    attributes : mapping of int to str
        The attribute that holds a task, by its ``id()``; tasks held by none are missing.

    Returns
    -------
    dict of int to str
        The given alias; else the module's name where no other task has it; else the attribute's.

    Raises
    ------
    AuthoringError
        If two tasks were given one alias.
    """
    tasks = list(tasks)
    given = Counter(task.alias for task in tasks if task.alias is not None)
    for alias, uses in given.items():
        if uses > 1:
            raise bad_argument(f'{uses} tasks have the alias "{alias}"', hint="give each task its own alias")
    modules = Counter(task.module.name for task in tasks if task.alias is None)
    taken = set(given)
    aliases: dict[int, str] = {}
    for task in tasks:
        wanted = task.alias
        if wanted is None:
            name = task.module.name
            unique = modules[name] == 1 and name not in given
            wanted = _free(name if unique else attributes.get(id(task), name), taken)
            taken.add(wanted)
        aliases[id(task)] = wanted
    return aliases


def vertex_aliases(vertices: Iterable[Vertex], aliases: Mapping[int, str]) -> list[str]:
    """Return each vertex's alias: the task's, and ``alias~2`` for the task's second call."""
    taken: set[str] = set()
    found = []
    for vertex in vertices:
        alias = _free(aliases[id(vertex.task)], taken)
        taken.add(alias)
        found.append(alias)
    return found


def _free(alias: str, taken: set[str]) -> str:
    if alias not in taken:
        return alias
    number = 2
    while f"{alias}~{number}" in taken:
        number += 1
    return f"{alias}~{number}"


def aliases_of(swarm: Swarm, vertices: Sequence[Vertex]) -> list[str]:
    """Return the alias of each vertex that a swarm drew."""
    attributes = {id(task): name for name, task in swarm._named_tasks()}
    distinct = {id(vertex.task): vertex.task for vertex in vertices}
    return vertex_aliases(vertices, task_aliases(distinct.values(), attributes))
