"""Which files of a directory belong to a module's bundle."""

from __future__ import annotations

import os
from pathlib import Path

_LEFT_OUT = ("__pycache__", "node_modules")


def python_files(root: Path) -> list[Path]:
    """Return the ``.py`` files that the bundle may hold, in a stable order.

    Parameters
    ----------
    root : Path
        The module, or what it includes: a file, or a directory. Entries that begin with a dot, byte code
        and virtual environments are left out, as they are when the bundle is packed, which leaves out
        what a ``.gitignore`` names, too.
    """
    if root.is_file():
        return [root] if root.suffix == ".py" else []
    found: list[Path] = []
    for directory, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not _left_out(Path(directory, name)))
        found.extend(Path(directory, name) for name in files if name.endswith(".py") and name[0] != ".")
    return sorted(found)


def _left_out(directory: Path) -> bool:
    return directory.name.startswith(".") or directory.name in _LEFT_OUT or (directory / "pyvenv.cfg").exists()
