"""Python files read as syntax trees, never run, and what their top-level names stand for."""

from __future__ import annotations

import ast
import os
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manta import _codes
from manta._errors import AuthoringError


@dataclass(frozen=True)
class Imported:
    """A name bound by an import.

    Attributes
    ----------
    level : int
        Leading dots; 0 for an absolute import.
    module : str
        The dotted path after them.
    name : str or None
        The name imported from there; None for the module itself.
    """

    level: int
    module: str
    name: str | None


Binding = ast.AST | Imported


@dataclass
class Source:
    """One file.

    Attributes
    ----------
    path : Path
        The file.
    tree : ast.Module
        Its syntax tree.
    names : dict of str to (AST or Imported)
        What the top-level names stand for; a later binding wins.
    stars : list of Imported
        Modules of which every name is imported.
    """

    path: Path
    tree: ast.Module
    names: dict[str, Binding] = field(default_factory=dict)
    stars: list[Imported] = field(default_factory=list)

    def where(self, node: ast.AST | None = None) -> str:
        """Return ``file:line`` of a node, relative to the working directory where it is below."""
        return place(self.path, getattr(node, "lineno", 1))


class Sources:
    """The files of one module, parsed when they are first asked for.

    Parameters
    ----------
    root : Path
        The module's file or directory.
    include : sequence of Path
        Files and directories that stand beside the module's own files in its bundle.
    """

    def __init__(self, root: Path, include: Sequence[Path] = ()) -> None:
        self.root = root
        self._include = {path.stem if path.is_file() else path.name: path for path in include}
        self._parsed: dict[Path, Source] = {}

    def load(self, path: Path) -> Source:
        """Return the parsed file.

        Raises
        ------
        AuthoringError
            If it has a syntax error; says where.
        """
        if path not in self._parsed:
            self._parsed[path] = _bind(Source(path, _parse(path)))
        return self._parsed[path]

    def imported_file(self, source: Source, imported: Imported) -> Path | None:
        """Return the file of this module that an import names, if it is one of them."""
        top, _, rest = imported.module.partition(".")
        included = None if imported.level else self._include.get(top)
        if included is not None:
            return _python_file(included, rest)
        if self.root.is_file():
            return None
        base = self.root
        if imported.level:
            base = source.path.parent
            for _ in range(imported.level - 1):
                base = base.parent
        target = base.joinpath(*imported.module.split(".")) if imported.module else base
        for candidate in (target.with_name(f"{target.name}.py"), target / "__init__.py"):
            if candidate.is_file() and candidate.is_relative_to(self.root):
                return candidate
        return None


def _python_file(included: Path, dotted: str) -> Path | None:
    if included.is_file():
        return included if included.suffix == ".py" and not dotted else None
    target = included.joinpath(*dotted.split(".")) if dotted else included
    candidates = (target.with_name(f"{target.name}.py"), target / "__init__.py")
    return next((path for path in candidates if path.is_file() and path.is_relative_to(included)), None)


def place(path: Path, line: int) -> str:
    """Return ``file:line``, relative to the working directory where the file is below."""
    shown = os.path.relpath(path)
    return f"{path if shown.startswith(os.pardir) else shown}:{line}"


def _parse(path: Path) -> ast.Module:
    try:
        with tokenize.open(path) as file:
            return ast.parse(file.read(), filename=str(path))
    except SyntaxError as error:
        where = place(path, error.lineno or 1)
        raise AuthoringError(_codes.SYNTAX_ERROR, f"{path.name} does not parse: {error.msg}", where=where) from None
    except (ValueError, UnicodeDecodeError) as error:
        where = place(path, 1)
        raise AuthoringError(_codes.SYNTAX_ERROR, f"{path.name} is no Python text: {error}", where=where) from None


def _bind(source: Source) -> Source:
    for statement in _top_level(source.tree.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            source.names[statement.name] = statement
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                source.names[bound] = Imported(0, alias.name if alias.asname else bound, None)
        elif isinstance(statement, ast.ImportFrom):
            _bind_from(source, statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    source.names[target.id] = statement.value
    return source


def _bind_from(source: Source, statement: ast.ImportFrom) -> None:
    for alias in statement.names:
        if alias.name == "*":
            source.stars.append(Imported(statement.level, statement.module or "", None))
        else:
            imported = Imported(statement.level, statement.module or "", alias.name)
            source.names[alias.asname or alias.name] = imported


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that bind module-level names, those inside if, try and with included."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)
