"""Finds names in ``except`` clauses that nothing in the file ever binds."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator

from manta import _codes
from manta._errors import AuthoringError
from manta._sources import Source
from manta.light import errors
from manta.light._names import nearest

_HOMES = dict.fromkeys(errors.__all__, "manta.light.errors") | {
    "JSONDecodeError": "json",
    "CalledProcessError": "subprocess",
    "TimeoutExpired": "subprocess",
    "BadZipFile": "zipfile",
    "HTTPError": "urllib.error",
    "URLError": "urllib.error",
    "Empty": "queue",
    "Full": "queue",
    "LinAlgError": "numpy.linalg",
}
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__builtins__"}


def check_except_names(source: Source) -> None:
    """Refuse a file whose ``except`` clauses name what is nowhere bound.

    Such a clause would raise ``NameError`` on a node, in place of handling the error. A star
    import may bind anything, so a file with one is accepted.

    Raises
    ------
    AuthoringError
        For the first such name; says which import to add.
    """
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(source.tree)):
        return
    bound = frozenset(_bound(source.tree)) | _BUILTINS
    for handler in ast.walk(source.tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.type is None:
            continue
        for node in ast.walk(handler.type):
            if isinstance(node, ast.Name) and node.id not in bound:
                raise AuthoringError(
                    _codes.UNBOUND_NAME,
                    f"`except {ast.unparse(handler.type)}` names `{node.id}`, which nothing in the file binds",
                    hint=_hint(node.id, bound),
                    where=source.where(handler),
                )


def _bound(tree: ast.AST) -> Iterator[str]:
    """Yield every name that is bound anywhere in the file, in whatever scope."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name is not None:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            yield node.rest


def _hint(name: str, bound: frozenset[str]) -> str:
    if name in _HOMES:
        return f"add `from {_HOMES[name]} import {name}`"
    if name in sys.stdlib_module_names:
        return f"add `import {name}`"
    known = [entry for entry in bound if entry.endswith(("Error", "Exception", "Warning"))]
    found = nearest(name, [*known, *_HOMES], cutoff=0.85)
    if found in _HOMES:
        return f"did you mean `{found}`? Add `from {_HOMES[found]} import {found}`"
    return f"did you mean `{found}`?" if found else f"import or define `{name}`"
