"""Checks names given by task code, and finds the name that was probably meant."""

import difflib
import unicodedata
from typing import Iterable, Optional

from .errors import InvalidArgument

NAME_BYTES_MAX = 255

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Name(str):
    """A name that the platform hands out with more beside it; as a value it is the plain str that it is equal to."""


def check_name(kind: str, name: object) -> str:
    """Return ``name`` if it can name a ``kind``, refuse it otherwise."""
    if not isinstance(name, str):
        raise InvalidArgument(f"the name of a {kind} is a str, not {type(name).__name__}: {name!r}")
    problem = _problem(name)
    if problem is not None:
        raise InvalidArgument(f"the name of a {kind} {problem}: {name[:64]!r}")
    return name


def _problem(name: str) -> Optional[str]:
    if not name:
        return "cannot be empty"
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        return f"is longer than {NAME_BYTES_MAX} bytes"
    if any(unicodedata.category(char) in _HIDDEN for char in name):
        return "may not hold control, direction-changing or unpaired surrogate characters"
    if name != name.strip():
        return "may not begin or end with a space"
    if name != unicodedata.normalize("NFC", name):
        return "is not in composed form (Unicode NFC); write its accents as one with their letters"
    return None


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> Optional[str]:
    """Return the entry of ``known`` that is closest to ``name`` or continues it, if any does."""
    candidates = sorted({str(entry) for entry in known})
    folded = {entry.lower(): entry for entry in reversed(candidates)}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    if not found and len(name) >= 3:
        found = [entry for entry in folded if entry.startswith(name.lower())][:1]
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> Optional[str]:
    """Return a hint that names the closest entry of ``known``, if any is close."""
    found = nearest(name, known)
    return None if found is None else f'did you mean "{found}"?'


def quoted(names: Iterable[str], limit: int = 10) -> str:
    """Return the names as a readable list, shortened after ``limit`` entries."""
    entries = list(dict.fromkeys(names))
    text = ", ".join(f'"{entry}"' for entry in entries[:limit])
    return f"{text} and {len(entries) - limit} more" if len(entries) > limit else text
