"""Imports a user's swarm file and makes the swarm in it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from manta import _codes
from manta._errors import AuthoringError
from manta._sources import place
from manta.apis import Swarm
from manta.light._names import did_you_mean, nearest


class UsageError(Exception):
    """What stands on the command line does not fit the file.

    Parameters
    ----------
    message : str
        One sentence.
    hint : str, optional
        What to write instead.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def split_target(target: str) -> tuple[Path, str | None]:
    """Return path and class of ``PATH[:Class]``.

    Raises
    ------
    UsageError
        If there is no such file.
    """
    path, separator, name = target.rpartition(":")
    if not separator or not name.isidentifier():
        path, name = target, ""
    file = Path(path)
    if file.is_dir() and (file / "swarm.py").is_file():
        file = file / "swarm.py"
    if not file.is_file():
        raise UsageError(f"there is no swarm file `{path}`", _near_file(file))
    return file.resolve(), name or None


def load_swarm(path: Path, name: str | None) -> Swarm:
    """Import the file and make its swarm.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        A Swarm class, or a variable that holds a swarm; needed where the file has several.

    Raises
    ------
    UsageError
        If the file has no swarm, several, or none of that name.
    """
    module = _import_file(path)
    found = _choose(path, module, name)
    if isinstance(found, Swarm):
        return found
    required = [
        parameter.name
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in (2, 4)
    ]
    if required:
        raise AuthoringError(
            _codes.SWARM_FILE,
            f"{found.__name__} needs arguments: {', '.join(required)}",
            hint=f"give them defaults, or make one in the file, `swarm = {found.__name__}(...)`, and name `swarm`",
            where=place(path, inspect.getsourcelines(found)[1]),
        )
    return found()


def _choose(path: Path, module: ModuleType, name: str | None) -> type[Swarm] | Swarm:
    names = vars(module)
    classes = {
        key: value
        for key, value in names.items()
        if isinstance(value, type) and issubclass(value, Swarm) and value.__module__ == module.__name__
    }
    swarms = {key: value for key, value in names.items() if isinstance(value, Swarm)}
    if name is not None:
        chosen: Any = names.get(name)
        if isinstance(chosen, Swarm) or (isinstance(chosen, type) and issubclass(chosen, Swarm)):
            return chosen
        known = [*classes, *swarms]
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise UsageError(f"`{path.name}` has no swarm `{name}`; {there}", did_you_mean(name, known))
    leaves = [one for one in classes.values() if not any(one in other.__mro__[1:] for other in classes.values())]
    if len(set(leaves)) == 1:  # one that the file made of it has what the file gave it
        made = [one for one in swarms.values() if type(one) is leaves[0]]
        return made[0] if len(made) == 1 else leaves[0]
    if not leaves and len(swarms) == 1:
        return next(iter(swarms.values()))
    known = [one.__name__ for one in leaves] or list(swarms)
    if not known:
        hint = "subclass manta.apis.Swarm in it"
        raise UsageError(f"`{path.name}` has no swarm", hint)
    hint = f"name one: {path.name}:{known[0]}"
    raise UsageError(f"`{path.name}` has {len(known)} swarms: {', '.join(known)}", hint)


def _import_file(path: Path) -> ModuleType:
    """Import by path; as part of its package where the file uses relative imports."""
    level = _relative_level(path)
    if level == 0:
        sys.path.insert(0, str(path.parent))
        return _execute(_safe_name(path.stem), path, None)
    base = path.parents[level - 1]
    top = _safe_name(base.name)
    init = base / "__init__.py"
    if init.is_file():
        _execute(top, init, [str(base)])
    else:
        package = ModuleType(top)
        package.__path__ = [str(base)]
        sys.modules[top] = package
    sys.path.insert(0, str(base.parent))
    inner = path.relative_to(base).with_suffix("").parts
    importlib.import_module(".".join([top, *inner[:-1]]))
    return _execute(".".join([top, *inner]), path, None)


class _FromSource(SourceFileLoader):
    """Compiles a file as it is now: caches go by its length and whole seconds of its time, which an edit can keep."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _execute(name: str, path: Path, search: list[str] | None) -> ModuleType:
    loader = _FromSource(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise AuthoringError(_codes.SWARM_FILE, f"`{path}` is no Python file", where=place(path, 1))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _relative_level(path: Path) -> int:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return 0
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)


def _safe_name(stem: str) -> str:
    name = re.sub(r"\W", "_", stem) or "swarm"
    return f"_{name}" if name in sys.modules or name in sys.stdlib_module_names or name[0].isdigit() else name


def _near_file(file: Path) -> str | None:
    if not file.parent.is_dir():
        return None
    found = nearest(file.name, [entry.name for entry in file.parent.iterdir() if entry.suffix == ".py"])
    return f"did you mean `{file.parent / found}`?" if found else None
