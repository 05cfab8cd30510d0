"""Checks a module before it is packed: it is read, and never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manta._bundle_files import python_files
from manta._check_entry import find_entry
from manta._check_names import check_except_names
from manta._errors import AuthoringError
from manta._sources import Sources


@dataclass(frozen=True)
class Problem:
    """A file that a bundle may not hold.

    Attributes
    ----------
    path : Path
        The file.
    error : AuthoringError
        What is wrong with it.
    """

    path: Path
    error: AuthoringError


def inspect_module(
    root: Path, entry: str | None = None, include: Sequence[Path] = ()
) -> tuple[dict[str, str], list[Problem]]:
    """Find a module's entry point, and every file that could not be packed.

    Which files are packed is known only when they are; a problem with another one is none.

    Parameters
    ----------
    root : Path
        The module's file or directory.
    entry : str, optional
        The task class that the author named.
    include : sequence of Path
        Files and directories that go into the bundle beside the module's own.

    Returns
    -------
    dict of str to str
        ``{"file", "call"}`` or ``{"file", "class"}``.
    list of Problem
        Files with a syntax error, or an unbound name in an ``except`` clause.

    Raises
    ------
    AuthoringError
        If there is no entry point, or the file that should have it does not parse.
    """
    sources = Sources(root, include)
    found = find_entry(sources, entry)
    problems = []
    for path in [file for part in (root, *include) for file in python_files(part)]:
        try:
            check_except_names(sources.load(path))
        except AuthoringError as error:
            problems.append(Problem(path, error))
    return found, problems


def check_module(root: Path, entry: str | None = None) -> dict[str, str]:
    """Check all Python files of a module and return its entry point.

    Parameters
    ----------
    root : Path
        The module's file or directory.
    entry : str, optional
        The task class that the author named.

    Returns
    -------
    dict of str to str
        ``{"file", "call"}`` or ``{"file", "class"}``.

    Raises
    ------
    AuthoringError
        For a syntax error, a missing entry point, or an unbound name in an ``except`` clause.
    """
    found, problems = inspect_module(root, entry)
    if problems:
        raise problems[0].error
    return found
