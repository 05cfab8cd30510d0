"""Finds a module's code: beside the file that makes the module, then in the working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from manta import _codes
from manta._errors import AuthoringError
from manta.light._names import nearest
from manta.light._traceback import is_platform


def looks_like_path(program: str | os.PathLike[str]) -> bool:
    """Return whether ``program`` can only be a path, and no name of a published module."""
    return not isinstance(program, str) or "/" in program or "\\" in program or program.endswith(".py")


def calling_directory() -> Path | None:
    """Return the directory of the user's file that is calling, if it is a file."""
    frame = sys._getframe(1)
    while frame is not None and is_platform(frame.f_code.co_filename):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    return file.absolute().parent if file.is_file() else None


def look_up(program: str | os.PathLike[str]) -> Path | None:
    """Return the absolute path of ``program``, or ``None`` where there is no such file."""
    return next((place for place in _places(program) if place.exists()), None)


def require(program: str | os.PathLike[str]) -> Path:
    """Return the absolute path of ``program``.

    Raises
    ------
    AuthoringError
        If it is in neither place, or is neither a ``.py`` file nor a package.
    """
    path = look_up(program)
    if path is None:
        places = list(dict.fromkeys(_places(program)))
        tried = " nor ".join(f"`{place}`" for place in places)
        prefix = "neither " if len(places) > 1 else ""
        verb = "exists" if len(places) > 1 else "does not exist"
        message = f"there is no module `{os.fspath(program)}`: {prefix}{tried} {verb}"
        raise AuthoringError(_codes.MODULE_PATH, message, hint=_hint(places))
    if path.is_dir() and not (path / "__init__.py").is_file():
        message = f"the directory `{path}` is no module: it has no `__init__.py`"
        raise AuthoringError(_codes.MODULE_PATH, message, hint="add an `__init__.py` with a `main()`")
    if path.is_file() and path.suffix != ".py":
        raise AuthoringError(_codes.MODULE_PATH, f"`{path}` is no module: its name does not end in `.py`")
    return path


def _places(program: str | os.PathLike[str]) -> list[Path]:
    path = Path(program).expanduser()
    if path.is_absolute():
        return [path]
    beside = calling_directory()
    bases = [Path.cwd()] if beside is None else [beside, Path.cwd()]
    return [Path(os.path.normpath(base / path)) for base in bases]


def _hint(places: list[Path]) -> str | None:
    for place in places:
        parent = place.parent
        if not parent.is_dir():
            continue
        names = [entry.name for entry in parent.iterdir() if entry.suffix == ".py" or entry.is_dir()]
        found = nearest(place.name, names)
        if found is not None:
            return f"did you mean `{parent / found}`?"
    return None
