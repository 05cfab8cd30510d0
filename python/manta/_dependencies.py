"""What a module says of the packages that it depends on, and for which Python they are resolved.

``python -m manta._dependencies [MODULE]`` prints both as one JSON document.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

from manta._errors import bad_argument
from manta._metadata import metadata_file, module_metadata, read_document
from manta.light.errors import MantaError

REQUIREMENTS = "requirements.txt"
LOCK = "pylock.toml"


def dependencies(root: Path) -> dict[str, Any] | None:
    """Return what is to be resolved for a module, or ``None`` where it depends on nothing.

    A directory's ``requirements.txt`` counts; without one, ``[project] dependencies`` of its
    ``pyproject.toml``. A file's PEP 723 block counts. A directory may have a ``pylock.toml``.

    Parameters
    ----------
    root : Path
        The module: a file or a directory.

    Raises
    ------
    AuthoringError
        If a list is none, or names something else than texts.
    """
    options = module_metadata(root)
    told: dict[str, Any] = {
        "origin": str(metadata_file(root)),
        "requirements": None,
        "lock": None,
        **{key: _texts(root, f"tool.manta.module.{key}", options.get(key)) for key in _OPTIONS},
    }
    if root.is_dir() and (root / LOCK).is_file():
        told["lock"] = str(root / LOCK)
    if root.is_dir() and (root / REQUIREMENTS).is_file():
        return {**told, "origin": str(root / REQUIREMENTS)} if _says_something(root / REQUIREMENTS) else None
    told["requirements"] = _texts(root, "dependencies", _project(root).get("dependencies"))
    return told if told["requirements"] else None


def requires_python(root: Path) -> str | None:
    """Return the versions of Python that a module works with, where it says so."""
    told = _project(root).get("requires-python")
    if told is None or isinstance(told, str):
        return told or None
    message = f"`requires-python` in `{metadata_file(root)}` is {told!r}, and a text like `>=3.10` is needed"
    raise bad_argument(message)


def interpreter() -> dict[str, str]:
    """Return this interpreter: its path, its minor version, and its machine with the C library."""
    return {
        "executable": sys.executable,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "platform": f"{platform.machine()}-{_library()}",
    }


_OPTIONS = ("pythons", "platforms", "allow_source")


def _project(root: Path) -> dict[str, Any]:
    """Return the table in which dependencies stand: of a script the document itself."""
    if root.is_file():
        return {**read_document(root, "dependencies"), **read_document(root, "requires-python")}
    document = {**read_document(root, "dependencies"), **read_document(root, "requires-python")}
    project = document.get("project", {})
    return project if isinstance(project, dict) else {}


def _texts(root: Path, key: str, told: Any) -> list[str]:
    if told is None:
        return []
    if isinstance(told, list) and all(isinstance(entry, str) for entry in told):
        return told
    raise bad_argument(f"`{key}` in `{metadata_file(root)}` is {told!r}, and a list of texts is needed")


def _says_something(requirements: Path) -> bool:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


def _library() -> str:
    """Return ``manylinux_2_36`` for glibc 2.36, and ``musllinux_1_2`` for musl."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, AttributeError, OSError):
        told = ""
    name, _, version = told.partition(" ")
    if name == "glibc" and version:
        return "manylinux_" + "_".join(version.split(".")[:2])
    return "musllinux_1_2" if "musl" in str(sysconfig.get_config_var("SOABI")) else "unknown"


def main(arguments: list[str] | None = None) -> int:
    """Print what this interpreter is, and what the module on the command line declares."""
    modules = [Path(module).absolute() for module in (sys.argv[1:] if arguments is None else arguments)[:1]]
    try:
        told = {"interpreter": interpreter(), "dependencies": dependencies(modules[0]) if modules else None}
    except MantaError as error:
        where = getattr(error, "where", None)
        problem = {"code": error.code, "message": error.message, "where": where, "hint": error.hint}
        print(json.dumps(problem), file=sys.stderr)
        return 4
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
