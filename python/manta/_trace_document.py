"""The trace document: a swarm's graph, modules and globals as the ``manta`` program reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from manta import _codes
from manta._check import check_module
from manta._errors import AuthoringError
from manta._metadata import module_metadata
from manta.apis import Module, Swarm, Task, Vertex
from manta.apis._aliases import task_aliases, vertex_aliases
from manta.light._values import encode

SCHEMA_VERSION = 1


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
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": swarm.name,
        "max_iteration": swarm.max_iteration,
        "globals": [],
        "modules": [_module(module) for module in modules],
        "tasks": _tasks(swarm, vertices, modules),
    }
    directory.mkdir(parents=True, exist_ok=True)
    document["globals"] = _write_globals(swarm, directory)
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
    if module.path is None:
        what = "an image's own program" if module.python_program is None else f"the published module `{module.name}`"
        message = f"{what} cannot be run: this release runs modules from a file or directory only"
        raise AuthoringError(_codes.NOT_OFFERED, message, hint=f'if it is a path, write "./{module.name}"')
    merged = _with_metadata(module, module.path)
    return {
        "name": merged.name,
        "version": merged.version,
        "image": merged.image or "manta_light:latest",
        "datasets": list(merged.datasets or ()),
        "resources": merged.resources or {},
        "isolation": merged.isolation,
        "description": merged.description,
        "requires_manta": merged.requires_manta,
        "root": str(module.path),
        "entry": check_module(module.path, merged.entry),
    }


def _with_metadata(module: Module, path: Path) -> Module:
    """Return the module with what its own metadata says; what the constructor was given wins."""
    told = module_metadata(path)
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
    attributes = {id(task): name for name, task in swarm._named_tasks()}
    distinct = {id(vertex.task): vertex.task for vertex in vertices}
    aliases = vertex_aliases(vertices, task_aliases(distinct.values(), attributes))
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
