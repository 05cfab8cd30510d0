"""The trace document: a swarm's graph, modules and globals as the ``manta`` program reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from manta import _codes
from manta._check import Problem, inspect_module
from manta._dependencies import dependencies, interpreter, requires_python
from manta._errors import AuthoringError, bad_argument
from manta._metadata import module_metadata
from manta.apis import Module, Swarm, Task, Vertex, _arguments
from manta.apis._aliases import aliases_of
from manta.light._values import encode

SCHEMA_VERSION = 1


def write_module(module: Module, directory: Path) -> None:
    """Check one module and write ``trace.json`` as of a swarm without tasks.

    Parameters
    ----------
    module : Module
        The module.
    directory : Path
        Made if it is not there.

    Raises
    ------
    AuthoringError
        If the module cannot be packed as it is.
    """
    _write(_document(module.name, None, [module], []), directory)


def write_trace(swarm: Swarm, directory: Path) -> None:
    """Trace a swarm, check its modules, and write ``trace.json`` and the globals' values.

    Parameters
    ----------
    swarm : Swarm
        The swarm; its ``execute`` is called once.
    directory : Path
        Made if it is not there.

    Raises
    ------
    AuthoringError
        If the graph or a module cannot be deployed as it is.
    """
    vertices = swarm._draw()
    modules = _distinct_modules(vertices)
    document = _document(swarm.name, swarm.max_iteration, modules, _tasks(swarm, vertices, modules))
    directory.mkdir(parents=True, exist_ok=True)
    document["globals"] = _write_globals(swarm, directory)
    _write(document, directory)


def _document(
    name: str, max_iteration: int | None, modules: list[Module], tasks: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "max_iteration": max_iteration,
        "interpreter": interpreter(),
        "globals": [],
        "modules": [_module(module) for module in modules],
        "tasks": tasks,
    }


def _write(document: dict[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    (directory / "trace.json").write_text(text, encoding="utf-8")


def _write_globals(swarm: Swarm, directory: Path) -> list[dict[str, str]]:
    listed = []
    for index, (name, value) in enumerate(swarm.globals.items()):
        file = f"global-{index}.value"
        with open(directory / file, "wb") as out:
            encode(value, f'global "{name}"').write(out.fileno())
        listed.append({"name": name, "file": file})
    return listed


def _distinct_modules(vertices: list[Vertex]) -> list[Module]:
    return list({id(vertex.task.module): vertex.task.module for vertex in vertices}.values())


def _module(module: Module) -> dict[str, Any]:
    if module.python_program is None:
        return _described(module)
    if module.path is None:
        return _published(module)
    told = module_metadata(module.path)
    merged = _with_metadata(module, module.path, told)
    include = _included(module.path, told.get("include"))
    entry, problems = inspect_module(module.path, merged.entry, include)
    return {
        **_described(merged),
        "architectures": list(_arguments.names("architecture", told.get("architectures"))),
        "requires_python": requires_python(module.path),
        "dependencies": dependencies(module.path),
        "root": str(module.path),
        "include": [str(path) for path in include],
        "entry": entry,
        "problems": [_problem(problem) for problem in problems],
    }


def _described(module: Module) -> dict[str, Any]:
    """Describe a module without its code, which is its image's own program."""
    return {
        "name": module.name,
        "version": module.version,
        "image": module.image or "manta_light:latest",
        "datasets": list(module.datasets or ()),
        "resources": module.resources or {},
        "isolation": module.isolation,
        "description": module.description,
        "requires_manta": module.requires_manta,
        "images": list(module.images),
        "root": None,
        "entry": {"image": True},
    }


def _published(module: Module) -> dict[str, Any]:
    """Describe a module of a registry; what the constructor was not given is the published module's own."""
    return {
        "published": str(module.python_program),
        "version": module.version,
        "image": module.image,
        "datasets": None if module.datasets is None else list(module.datasets),
        "resources": module.resources,
        "isolation": module.isolation,
        "entry": module.entry,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    error = problem.error
    told = {"code": error.code, "message": error.message, "where": error.where, "hint": error.hint}
    return {"file": str(problem.path), "error": told}


def _included(path: Path, listed: object) -> list[Path]:
    """Return the files and directories of `include`, looked up beside the file or in the directory that lists them."""
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(entry, str) and entry for entry in listed):
        raise bad_argument(f'`include` is a list of paths such as ["../common"], not {listed!r}')
    base = path.parent if path.is_file() else path
    found: dict[str, Path] = {}
    for entry in listed:
        place = Path(os.path.normpath(base / entry))
        if not place.exists():
            message = f"`include` of module `{path}` names `{entry}`, and `{place}` does not exist"
            raise AuthoringError(_codes.MODULE_PATH, message, hint=f"the path is looked up in `{base}`")
        if place == path or place in path.parents or path in place.parents:
            raise bad_argument(f"`include` of module `{path}` names `{entry}`, which holds the module or is part of it")
        if place.name in found:
            message = f"`include` of module `{path}` names two things called `{place.name}`"
            raise bad_argument(message, hint="each becomes an entry of that name beside the module's own files")
        found[place.name] = place
    return list(found.values())


def _with_metadata(module: Module, path: Path, told: dict[str, Any]) -> Module:
    """Return the module with what its own metadata says; what the constructor was given wins."""
    if not told:
        return module
    merged = Module(
        path,
        module.image or told.get("image"),
        told.get("datasets") if module.datasets is None else module.datasets,
        module._name or told.get("name"),
        module.version or told.get("version"),
        entry=module.entry or told.get("entry"),
        requires_manta=module.requires_manta or told.get("requires_manta"),
        images=module.images or told.get("images"),
        resources=told.get("resources"),
        isolation=module.isolation or told.get("isolation"),
        description=module.description or told.get("description"),
    )
    if module.resources is not None:
        merged.resources = module.resources
    return merged


def _tasks(swarm: Swarm, vertices: list[Vertex], modules: list[Module]) -> list[dict[str, Any]]:
    aliases = aliases_of(swarm, vertices)
    place = {id(vertex): index for index, vertex in enumerate(vertices)}
    numbers = {id(module): index for index, module in enumerate(modules)}
    return [
        {
            "alias": alias,
            "module": numbers[id(vertex.task.module)],
            "after": [place[id(before)] for before in vertex.previous],
            **_placement(vertex.task),
        }
        for alias, vertex in zip(aliases, vertices, strict=True)
    ]


def _placement(task: Task) -> dict[str, Any]:
    return {
        "method": task.method,
        "maximum": _amount(task.maximum),
        "gpu": task.gpu,
        "fixed": task.fixed,
        "excepted": list(task.excepted_ids),
        "specified": None if task.specified_ids is None else list(task.specified_ids),
        "labels": task.labels,
        "retries": task.retries,
        "timeout_s": task.timeout,
        "quorum": None if task.quorum is None else _amount(task.quorum),
        "deadline_s": task.deadline,
        "on_failure": task.on_failure,
        "on_disconnect": task.on_disconnect,
    }


def _amount(value: int | float) -> dict[str, Any]:
    if value == -1:
        return {"kind": "unlimited"}
    return {"kind": "count", "count": value} if isinstance(value, int) else {"kind": "share", "share": value}
