"""Checks a module before it is packed: it is read, and never run."""

from __future__ import annotations

from pathlib import Path

from manta._bundle_files import python_files
from manta._check_entry import find_entry
from manta._check_names import check_except_names
from manta._sources import Sources


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
    sources = Sources(root)
    files = [sources.load(path) for path in python_files(root)]
    found = find_entry(sources, entry)
    for source in files:
        check_except_names(source)
    return found
