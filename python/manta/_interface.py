"""Which names a module reads and publishes, found by reading its code and never by running it.

Only names that stand in the code as text are found; one that is computed is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from manta._bundle_files import python_files
from manta._sources import Sources

_CALLS = {
    ("results", "add"): "publishes",
    ("results", "async_add"): "publishes",
    ("results", "select"): "selects",
    ("results", "async_select"): "selects",
    ("globals", "get"): "reads",
    ("globals", "async_get"): "reads",
    ("globals", "async_set"): "writes",
    ("local", "get_dataset"): "datasets",
    ("local", "async_get_dataset"): "datasets",
    ("local", "get_numpy_data"): "datasets",
    ("local", "get_binary_data"): "datasets",
    ("local", "get_state"): "state",
    ("local", "set_state"): "state",
}


@dataclass
class Use:
    """One name, and where it first stands.

    Attributes
    ----------
    name : str
        The name.
    where : str
        ``file:line``.
    needed : bool
        Whether the call fails where there is no such name: it has no default.
    """

    name: str
    where: str
    needed: bool = True


@dataclass
class Interface:
    """What a module says to its swarm and its node, and what it wants to hear.

    Attributes
    ----------
    doc : str
        The module's docstring.
    publishes, selects, reads, writes, datasets, state : dict of str to Use
        Results, globals, datasets and state by name.
    """

    doc: str = ""
    publishes: dict[str, Use] = field(default_factory=dict)
    selects: dict[str, Use] = field(default_factory=dict)
    reads: dict[str, Use] = field(default_factory=dict)
    writes: dict[str, Use] = field(default_factory=dict)
    datasets: dict[str, Use] = field(default_factory=dict)
    state: dict[str, Use] = field(default_factory=dict)

    def note(self, kind: str, use: Use) -> None:
        """Keep a name where it stands first; one that is needed anywhere is needed."""
        known = getattr(self, kind)
        known.setdefault(use.name, use)
        known[use.name].needed |= use.needed


def interface_of(root: Path, task_class: str | None = None) -> Interface:
    """Read a module's files.

    Parameters
    ----------
    root : Path
        Its file or directory.
    task_class : str, optional
        The class that runs, where one does: other task classes are then left out, but for those
        that it is derived from.

    Raises
    ------
    AuthoringError
        If a file has a syntax error.
    """
    sources, found = Sources(root), Interface()
    entry = root / "__init__.py" if root.is_dir() else root
    base = root if root.is_dir() else root.parent
    trees = {path: sources.load(path).tree for path in python_files(root)}
    idle = set() if task_class is None else _idle_classes(trees.values(), task_class)
    for path, tree in trees.items():
        if path == entry:
            found.doc = ast.get_docstring(tree) or ""
        parts = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in idle)]
        for kind, name, node, needed in (use for part in parts for use in _uses(part)):
            found.note(kind, Use(name, f"{path.relative_to(base)}:{node.lineno}", needed))
    return found


def _idle_classes(trees: Iterable[ast.Module], task_class: str) -> set[str]:
    """Return the names of the task classes that ``task_class`` is not derived from."""
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = {node.name: [_last(base) for base in node.bases] for node in classes}

    def above(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += bases.get(one, [])
        return found

    used = above(task_class)
    return {name for name in bases if "Task" in above(name) and name not in used}


def _uses(tree: ast.AST) -> Iterator[tuple[str, str, ast.expr, bool]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            kind = _CALLS.get((_last(node.func.value), node.func.attr))
            name = _text(node.args[:1]) or _text(word.value for word in node.keywords if word.arg == "name")
            if kind and name is not None:
                yield kind, name, node, not _has_default(kind, node)
            if (_last(node.func.value), node.func.attr) == ("globals", "update"):
                for word in node.keywords:
                    if word.arg:
                        yield "writes", word.arg, node, False
        elif isinstance(node, ast.Subscript) and _last(node.value) == "globals":
            name = _text([node.slice])
            if name is not None:
                yield "writes" if isinstance(node.ctx, ast.Store) else "reads", name, node, True


def _last(node: ast.expr) -> str:
    """Return the last word of ``self.world.results``, or of a plain name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(nodes: Iterable[ast.expr]) -> str | None:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
    return None


def _has_default(kind: str, call: ast.Call) -> bool:
    if kind == "reads":
        return True
    return kind == "selects" and any(word.arg == "default" for word in call.keywords)
