"""Loads a bundle's entry file by path, whatever it is called."""

import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import Any, Mapping

from .errors import MantaError


def load_entry(name: str, root: str, entry: Mapping[str, Any]) -> ModuleType:
    """Import the entry file of the bundle at ``root``.

    ``root`` comes last on ``sys.path``, so that files beside it can be imported by name, and an
    ``__init__.py`` is imported as a package, so that they can be imported relatively.

    Parameters
    ----------
    name : str
        The module's name.
    root : str
        The bundle's directory.
    entry : mapping
        ``{"file": ..., "call": ...}`` or ``{"file": ..., "class": ...}``.
    """
    import_name = _import_name(name)
    if root not in sys.path:
        sys.path.append(root)
    path = os.path.join(root, str(entry["file"]))
    is_package = os.path.basename(path) == "__init__.py"
    spec = importlib.util.spec_from_file_location(
        import_name, path, submodule_search_locations=[os.path.dirname(path)] if is_package else None
    )
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise MantaError(f"the bundle has no file {entry['file']}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[import_name] = module
    spec.loader.exec_module(module)
    return module


def _import_name(name: str) -> str:
    """Return a name under which nothing else can be imported."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "module"
    plain = f"_{plain}" if plain[0].isdigit() else plain
    while plain in sys.modules or _is_importable(plain):
        plain += "_module"
    return plain


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True
