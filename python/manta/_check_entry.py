"""Finds what a module's bundle runs: its ``main()``, or its one task class."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manta import _codes
from manta._errors import AuthoringError
from manta._sources import Binding, Imported, Source, Sources
from manta.light._names import did_you_mean, nearest

_TASK = ("manta.light.Task", "manta.light.task.Task")
_WITHOUT_RUN = (*_TASK, "object", "abc.ABC", "typing.Generic")
_GIVES_ANY_NAME = ("__getattr__", "__getattribute__", "__new__")
_HOPS_MAX = 20


@dataclass(frozen=True)
class Found:
    """What a name stands for, after following imports inside the module.

    Attributes
    ----------
    source : Source or None
        The file; None for something outside the module.
    node : AST or None
        What is bound there.
    dotted : str
        The dotted name, for something outside the module.
    """

    source: Source | None
    node: ast.AST | None
    dotted: str = ""


def find_entry(sources: Sources, wanted: str | None) -> dict[str, str]:
    """Return the manifest's entry: ``{"file", "call"}`` or ``{"file", "class"}``.

    Parameters
    ----------
    sources : Sources
        The module's files.
    wanted : str, optional
        The class that the author named.

    Raises
    ------
    AuthoringError
        If there is no entry point, or more than one; says which classes were found. Also for a
        class without ``run()``.
    """
    root = sources.root
    path = root if root.is_file() else root / "__init__.py"
    names = _namespace(sources, sources.load(path))
    if wanted is not None:
        return {"file": path.name, "class": _named(sources, path, names, wanted)}
    if "main" in names:
        _check_main(names["main"])
        return {"file": path.name, "call": "main"}
    classes = _task_classes(sources, names)
    if len(classes) != 1:
        raise _no_single_class(sources, path, names, classes)
    ((name, found),) = classes.items()
    _check_run(sources, path, found)
    return {"file": path.name, "class": name}


def _namespace(sources: Sources, source: Source, hops: int = 0) -> dict[str, Found]:
    """Return what each top-level name of a file stands for, star imports included."""
    names: dict[str, Found] = {}
    for star in source.stars:
        file = sources.imported_file(source, star)
        if file is not None and hops < _HOPS_MAX:
            inner = _namespace(sources, sources.load(file), hops + 1)
            names.update({name: found for name, found in inner.items() if not name.startswith("_")})
        elif star.level == 0 and star.module in ("manta.light", "manta.light.task"):
            names["Task"] = Found(None, None, f"{star.module}.Task")
    for name, binding in source.names.items():
        names[name] = _follow(sources, source, binding, hops)
    return names


def _follow(sources: Sources, source: Source, binding: Binding, hops: int = 0) -> Found:
    if not isinstance(binding, Imported):
        if isinstance(binding, (ast.Name, ast.Attribute)) and hops < _HOPS_MAX:
            return _resolve(sources, source, binding, hops + 1)
        return Found(source, binding)
    dotted = f"{binding.module}.{binding.name}" if binding.name else binding.module
    if hops >= _HOPS_MAX:
        return Found(None, None, dotted)
    if binding.name is not None:
        submodule = f"{binding.module}.{binding.name}" if binding.module else binding.name
        file = sources.imported_file(source, Imported(binding.level, submodule, None))
        if file is not None:
            return Found(sources.load(file), None)
    file = sources.imported_file(source, binding)
    if file is None:
        return Found(None, None, dotted)
    if binding.name is None:
        return Found(sources.load(file), None)
    return _namespace(sources, sources.load(file), hops + 1).get(binding.name, Found(None, None, dotted))


def _resolve(sources: Sources, source: Source, expression: ast.AST, hops: int = 0) -> Found:
    """Return what a dotted expression stands for."""
    if isinstance(expression, ast.Subscript):
        return _resolve(sources, source, expression.value, hops)
    if isinstance(expression, ast.Name):
        return _lookup(sources, source, expression.id, hops)
    if isinstance(expression, ast.Attribute):
        owner = _resolve(sources, source, expression.value, hops)
        if owner.source is not None and owner.node is None:
            return _lookup(sources, owner.source, expression.attr, hops)
        return Found(None, None, f"{owner.dotted}.{expression.attr}")
    return Found(None, None)


def _lookup(sources: Sources, source: Source, name: str, hops: int) -> Found:
    if hops > _HOPS_MAX:
        return Found(None, None, name)
    return _namespace(sources, source, hops + 1).get(name, Found(None, None, name))


def _is_task_class(sources: Sources, found: Found, hops: int = 0) -> bool:
    if found.node is None:
        return found.source is None and found.dotted in _TASK
    if not isinstance(found.node, ast.ClassDef) or found.source is None or hops > _HOPS_MAX:
        return False
    bases = [_resolve(sources, found.source, base) for base in found.node.bases]
    return any(_is_task_class(sources, base, hops + 1) for base in bases)


def _task_classes(sources: Sources, names: dict[str, Found]) -> dict[str, Found]:
    """Return the task classes of a namespace, less those that others of them extend."""
    classes: dict[str, Found] = {}
    for name, found in names.items():
        known = any(found.node is other.node for other in classes.values())
        if isinstance(found.node, ast.ClassDef) and not known and _is_task_class(sources, found):
            classes[name] = found
    extended = {id(node) for found in classes.values() for node in _ancestors(sources, found)}
    return {name: found for name, found in classes.items() if id(found.node) not in extended}


def _ancestors(sources: Sources, found: Found, hops: int = 0) -> list[ast.AST]:
    if not isinstance(found.node, ast.ClassDef) or found.source is None or hops > _HOPS_MAX:
        return []
    nodes: list[ast.AST] = []
    for base in (_resolve(sources, found.source, expression) for expression in found.node.bases):
        if base.node is not None:
            nodes += [base.node, *_ancestors(sources, base, hops + 1)]
    return nodes


def _named(sources: Sources, path: Path, names: dict[str, Found], wanted: str) -> str:
    if wanted in names:
        _check_run(sources, path, names[wanted])
        return wanted
    raise AuthoringError(
        _codes.NO_ENTRY_POINT,
        f"`{path.name}` has no class `{wanted}`, which `entry` names; {_classes_found(sources, names)}",
        hint=did_you_mean(wanted, names) or f"import it in `{path.name}`",
        where=sources.load(path).where(),
    )


def _check_main(found: Found) -> None:
    if not isinstance(found.node, (ast.FunctionDef, ast.AsyncFunctionDef)) or found.source is None:
        return
    given = found.node.args
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    required += sum(default is None for default in given.kw_defaults)
    if required > 0:
        message = f"`main()` needs {required} arguments, and the platform calls it with none"
        raise AuthoringError(_codes.NO_ENTRY_POINT, message, where=found.source.where(found.node))


def _check_run(sources: Sources, path: Path, found: Found) -> None:
    """Refuse a class without ``run()``, unless its files or the entry's have a line that may give it one."""
    if not isinstance(found.node, ast.ClassDef) or found.source is None or _sets_run(sources.load(path).tree):
        return
    methods = _methods(sources, found)
    if methods is None or "run" in methods or not methods.keys().isdisjoint(_GIVES_ANY_NAME):
        return
    near = nearest("run", methods)
    raise AuthoringError(
        _codes.NO_ENTRY_POINT,
        f"the task class `{found.node.name}` has no `run()`, which is what a node calls",
        hint=f"did you mean `run` by `{near}`?" if near else "add `def run(self): ...` to it",
        where=methods[near] if near else found.source.where(found.node),
    )


def _methods(sources: Sources, found: Found, hops: int = 0) -> dict[str, str] | None:
    """Return where a class and what it extends bind each of their names; ``None`` where it cannot be known."""
    if found.node is None and found.source is None and found.dotted in _WITHOUT_RUN:
        return {}
    if not isinstance(found.node, ast.ClassDef) or found.source is None or hops > _HOPS_MAX:
        return None
    if found.node.decorator_list or found.node.keywords or _sets_run(found.source.tree):
        return None
    methods = {name: found.source.where(node) for name, node in _class_names(found.node)}
    for base in found.node.bases:
        inherited = _methods(sources, _resolve(sources, found.source, base), hops + 1)
        if inherited is None:
            return None
        methods = {**inherited, **methods}
    return methods


def _sets_run(tree: ast.Module) -> bool:
    """Return whether the file gives an object a ``run`` from outside of a class's body."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "run" and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("__dict__", "__setattr__"):
            return True
        if isinstance(node, ast.Name) and node.id == "setattr":
            return True
    return False


def _class_names(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the names that a class's body binds, in whatever block of it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield child.name, child
        elif isinstance(child, ast.alias):
            yield child.asname or child.name, child
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id, child
        elif not isinstance(child, ast.Lambda):
            yield from _class_names(child)


def _no_single_class(
    sources: Sources, path: Path, names: dict[str, Found], classes: dict[str, Found]
) -> AuthoringError:
    source = sources.load(path)
    if classes:
        listed = ", ".join(classes)
        message = f"`{path.name}` has no `main()`, and {len(classes)} task classes: {listed}"
        hint = f'name one: Module(..., entry="{next(iter(classes))}"), or add a `main()`'
        first = next(iter(classes.values()))
        where = first.source.where(first.node) if first.source is not None else source.where()
        return AuthoringError(_codes.NO_ENTRY_POINT, message, hint=hint, where=where)
    found = _classes_found(sources, names)
    message = f"`{path.name}` has neither a `main()` nor a subclass of `manta.light.task.Task`; {found}"
    hint = "add `def main(): ...`, or a class with `run(self)` that extends Task"
    if path.name == "__init__.py":
        hint = f"{hint}; if it is in another file, import it in `__init__.py`"
    own = [entry.node for entry in names.values() if isinstance(entry.node, ast.ClassDef) and entry.source is source]
    return AuthoringError(_codes.NO_ENTRY_POINT, message, hint=hint, where=source.where(own[0] if own else None))


def _classes_found(sources: Sources, names: dict[str, Found]) -> str:
    classes = {name: found for name, found in names.items() if isinstance(found.node, ast.ClassDef)}
    if not classes:
        return "it has no classes"
    places = [f"{name} ({found.source.where(found.node)})" for name, found in classes.items() if found.source]
    return f"the classes found are {', '.join(places)}"
