"""Checks the arguments of modules and tasks, each with one clear sentence."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec

from manta._errors import bad_argument
from manta.light._names import check_name, did_you_mean
from manta.light.errors import InvalidArgument

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RESOURCES = ("cpu", "memory", "gpu", "gpu_memory", "tmp", "pids")

_P = ParamSpec("_P")


def keywords(init: Callable[_P, None]) -> Callable[_P, None]:
    """Let a constructor refuse a keyword that it does not know by naming the nearest that it does."""
    known = list(inspect.signature(init).parameters)[1:]
    owner = init.__qualname__.partition(".")[0]

    @functools.wraps(init)
    def checked(*values: _P.args, **given: _P.kwargs) -> None:
        for word in given:
            if word not in known:
                hint = did_you_mean(word, known) or f"it takes {', '.join(known)}"
                raise bad_argument(f"`{owner}` has no argument `{word}`", hint=hint)
        init(*values, **given)

    return checked


def name(kind: str, value: object) -> str:
    """Return ``value`` if it can name a ``kind``."""
    try:
        return check_name(kind, value)
    except InvalidArgument as error:
        raise bad_argument(error.message) from None


def component(kind: str, value: object) -> str:
    """Return ``value`` if it can name a ``kind`` and stand as one part of a path."""
    checked = name(kind, value)
    if "/" in checked or "\\" in checked or checked in (".", ".."):
        raise bad_argument(f"the name of a {kind} may not hold slashes or be `.` or `..`: {checked!r}")
    return checked


def text(what: str, value: object) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise bad_argument(f"`{what}` is a str, not {value!r}")
    return value


def names(kind: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return one name, or several, as a tuple without duplicates."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable):
        raise bad_argument(f"`{kind}s` is a list of names, not {value!r}")
    return tuple(dict.fromkeys(name(kind, entry) for entry in value))


def flag(what: str, value: object) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise bad_argument(f"`{what}` is True or False, not {value!r}")
    return value


def count(what: str, value: object, least: int = 0) -> int:
    """Return an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad_argument(f"`{what}` is an int of at least {least}, not {value!r}")
    return value


def choice(what: str, value: object, known: tuple[str, ...]) -> str:
    """Return one of the ``known`` words."""
    if value not in known:
        listed = " or ".join(f'"{word}"' for word in known)
        raise bad_argument(f"`{what}` is {listed}, not {value!r}", hint=did_you_mean(str(value), known))
    return str(value)


def labels(what: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """Return a mapping of strings."""
    if value is None:
        return {}
    strings = isinstance(value, Mapping) and all(isinstance(part, str) for pair in value.items() for part in pair)
    if not strings:
        raise bad_argument(f"`{what}` is a dict of str and str, not {value!r}")
    return {name("label", key): name("label's value", entry) for key, entry in value.items()}


def seconds(what: str, value: object) -> float | None:
    """Return a duration, given as seconds or as text such as ``"90s"`` or ``"2h"``."""
    if value is None:
        return None
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*", value)
        number = float(found[1]) * _DURATIONS[found[2]] if found else math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        number = math.nan
    if not 0 < number < math.inf:
        raise bad_argument(f'`{what}` is a positive number of seconds, or text such as "90s", not {value!r}')
    return number


def size_bytes(what: str, value: object) -> int:
    """Return a size, given as bytes or as text such as ``"2GiB"``."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    units = {unit.lower(): factor for unit, factor in _SIZES.items()}
    if found is None or found[2].lower() not in units or float(found[1]) <= 0:
        raise bad_argument(f'`{what}` is a positive number of bytes, or text such as "2GiB", not {value!r}')
    return int(float(found[1]) * units[found[2].lower()])


def resources(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return resource limits with units in their names, as the trace document holds them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise bad_argument(f"`resources` is a dict, not {value!r}")
    checked: dict[str, Any] = {}
    for key, amount in value.items():
        if key not in _RESOURCES:
            message = f"`resources` has no {key!r}; it takes {', '.join(_RESOURCES)}"
            raise bad_argument(message, hint=did_you_mean(str(key), _RESOURCES))
        what = f'resources["{key}"]'
        if key == "cpu":
            checked["cpu"] = _processors(what, amount)
        elif key in ("gpu", "pids"):
            checked[key] = count(what, amount, 0 if key == "gpu" else 1)
        else:
            checked[f"{key}_bytes"] = size_bytes(what, amount)
    return checked


def _processors(what: str, amount: object) -> float:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 < amount < math.inf:
        raise bad_argument(f"`{what}` is a positive number of processors, not {amount!r}")
    return float(amount)
