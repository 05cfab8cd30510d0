"""What a module says about itself, in a PEP 723 block or in its ``pyproject.toml``."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from manta._errors import bad_argument
from manta.light._names import did_you_mean

_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_KEYS = (
    "name",
    "version",
    "image",
    "datasets",
    "resources",
    "entry",
    "requires_manta",
    "images",
    "architectures",
    "include",
    "isolation",
    "description",
    "pythons",
    "platforms",
    "allow_source",
)


def module_metadata(root: Path) -> dict[str, Any]:
    """Return the table ``[tool.manta.module]`` of a module, or an empty dict.

    Parameters
    ----------
    root : Path
        The module: a file, whose PEP 723 block is read, or a directory, whose ``pyproject.toml`` is.

    Raises
    ------
    AuthoringError
        If the table cannot be read or has an unknown key.
    """
    origin = metadata_file(root)
    tool = read_document(root, "manta").get("tool", {})
    table = tool.get("manta", {}).get("module", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise bad_argument(f"`tool.manta.module` in `{origin}` is no table")
    keys = {key.replace("-", "_"): value for key, value in table.items()}
    for key in keys:
        if key not in _KEYS:
            message = f"`[tool.manta.module]` in `{origin}` has an unknown key `{key}`"
            raise bad_argument(message, hint=did_you_mean(key, _KEYS))
    return keys


def metadata_file(root: Path) -> Path:
    """Return the file that a module's metadata would stand in."""
    return root if root.is_file() else root / "pyproject.toml"


def read_document(root: Path, word: str) -> dict[str, Any]:
    """Return a module's PEP 723 block or ``pyproject.toml`` as tables.

    Parameters
    ----------
    root : Path
        The module: a file or a directory.
    word : str
        What is asked for: a text without this word says nothing of it, and needs no parser.

    Raises
    ------
    AuthoringError
        If it cannot be read.
    """
    origin = metadata_file(root)
    if not origin.is_file():
        return {}
    text = origin.read_text(encoding="utf-8")
    document = _script_block(text, origin) if root.is_file() else text
    return _parse_toml(document, origin) if word in document else {}


def _script_block(text: str, origin: Path) -> str:
    blocks = [found for found in _BLOCK.finditer(text) if found["type"] == "script"]
    if len(blocks) > 1:
        raise bad_argument(f"`{origin}` has {len(blocks)} `# /// script` blocks, and one is the most")
    if not blocks:
        return ""
    lines = blocks[0]["content"].splitlines(keepends=True)
    return "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)


def _parse_toml(document: str, origin: Path) -> dict[str, Any]:
    for name in ("tomllib", "tomli"):
        try:
            parser: Any = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return dict(parser.loads(document))
        except parser.TOMLDecodeError as error:
            raise bad_argument(f"the TOML of `{origin}` does not parse: {error}") from None
    raise bad_argument(
        f"reading `{origin}` needs a TOML parser, which Python has from 3.11 on",
        hint="use Python 3.11 or newer, or `pip install tomli`",
    )
