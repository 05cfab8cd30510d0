"""``python -m manta._module_check PATH [--swarm FILE[:CLASS]]``: all that can be said of a module without running it.

Prints one JSON document: the entry point, the names that the module reads and publishes, and what is
wrong. The exit code is 0 where nothing is, 1 where something is, 4 where the module cannot be read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from manta._check import check_module
from manta._interface import Interface, Use, interface_of
from manta._metadata import module_metadata
from manta._swarm_file import UsageError, load_swarm, split_target
from manta.apis import Module, Swarm
from manta.apis._graph import Vertex
from manta.apis._run import forbid_runs
from manta.light._names import did_you_mean, quoted
from manta.light.errors import MantaError

EXIT_WRONG = 1
EXIT_REFUSED = 4


def main(arguments: list[str] | None = None) -> int:
    """Check the module that the command line names."""
    parser = argparse.ArgumentParser(prog="manta._module_check")
    parser.add_argument("module")
    parser.add_argument("--swarm")
    options = parser.parse_args(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr), forbid_runs():
            document = check(Path(options.module), options.swarm)
    except (MantaError, UsageError) as error:
        told = {"code": getattr(error, "code", "MANTA-0110"), "message": error.message, "hint": error.hint}
        print(json.dumps({**told, "where": getattr(error, "where", None)}), file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(document, indent=1))
    return EXIT_WRONG if document["problems"] else 0


def check(path: Path, swarm: str | None = None) -> dict[str, Any]:
    """Return what a module is, and what is wrong with it.

    Parameters
    ----------
    path : Path
        The module's file or directory.
    swarm : str, optional
        ``FILE`` or ``FILE:CLASS`` of a swarm that uses it: its names are then compared with those
        of the swarm's other modules, and its datasets with those that the swarm lists.

    Raises
    ------
    AuthoringError
        If the module cannot be read, or has no entry point.
    """
    module = Module(path.absolute())
    root = module.path or path
    told = module_metadata(root)
    users = [] if swarm is None else _vertices(swarm, root)
    entry = next((vertex.task.module.entry for vertex in users if vertex.task.module.entry), told.get("entry"))
    checked = check_module(root, entry)
    found = interface_of(root, checked.get("class"))
    listed = list(told.get("datasets") or [])
    for vertex in users:
        listed += vertex.task.module.datasets or []
    problems = _datasets(found, listed) if swarm is not None or "datasets" in told else []
    for vertex in users:
        problems += _names(found, vertex)
    if swarm is not None:
        problems += _globals(found, swarm) if users else [f"no task of the swarm `{swarm}` runs this module"]
    return {
        "entry": checked,
        "doc": found.doc,
        **{kind: sorted(getattr(found, kind)) for kind in ("publishes", "selects", "reads", "writes", "state")},
        "datasets": sorted(found.datasets),
        "problems": list(dict.fromkeys(problems)),
    }


def _datasets(found: Interface, listed: list[str]) -> list[str]:
    problems = []
    for use in found.datasets.values():
        name = use.name.strip("/").partition("/")[0]
        if name not in listed and name.rpartition(".")[0] not in listed:
            have = f"it lists {quoted(listed)}" if listed else "it lists none"
            guess = did_you_mean(name, listed) or f'add it where the module is made: datasets=["{name}"]'
            problems.append(f'{use.where}: the module does not list the dataset "{name}"; {have}; {guess}')
    return problems


def _names(found: Interface, vertex: Vertex) -> list[str]:
    before = _ancestors(vertex)
    published: set[str] = set()
    for ancestor in before:
        published |= _interface(ancestor).publishes.keys()
    if not before:  # it reads what the iteration before left, of any task
        return []
    return [_unheard(use, published) for use in found.selects.values() if use.needed and use.name not in published]


def _unheard(use: Use, published: set[str]) -> str:
    there = f"they publish {quoted(sorted(published))}" if published else "they publish nothing"
    guess = did_you_mean(use.name, published)
    ending = f"; {guess}" if guess else ""
    return f'{use.where}: no task before this one publishes "{use.name}"; {there}{ending}'


def _globals(found: Interface, target: str) -> list[str]:
    swarm = _swarm(target)
    known = set(swarm.globals)
    for vertex in swarm._draw():
        known |= _interface(vertex).writes.keys()
    problems = []
    for use in found.reads.values():
        if use.needed and use.name not in known:
            guess = did_you_mean(use.name, known) or f'declare it: self.set_global("{use.name}", ...)'
            problems.append(f'{use.where}: the swarm has no global "{use.name}"; {guess}')
    return problems


def _interface(vertex: Vertex) -> Interface:
    module = vertex.task.module
    if module.path is None:
        return Interface()
    return interface_of(module.path, check_module(module.path, module.entry).get("class"))


def _ancestors(vertex: Vertex) -> list[Vertex]:
    found: dict[int, Vertex] = {}
    waiting = list(vertex.previous)
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = one
            waiting += one.previous
    return list(found.values())


def _swarm(target: str) -> Swarm:
    path, name = split_target(target)
    return load_swarm(path, name)


def _vertices(target: str, root: Path) -> list[Vertex]:
    vertices = _swarm(target)._draw()
    return [one for one in vertices if one.task.module.path and one.task.module.path.resolve() == root.resolve()]


if __name__ == "__main__":
    sys.exit(main())
