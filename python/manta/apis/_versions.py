"""Versions, version ranges and image names, as far as their form goes."""

from __future__ import annotations

import re

from manta._errors import bad_argument

_CURATED = ("latest", "numpy", "sklearn", "pytorch", "tensorflow")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABEL = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_LABEL}(?:\.{_LABEL})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_COMPARATOR = re.compile(rf"\s*(?:>=|<=|>|<|=|\^|~)?\s*{_NUMBER}(?:\.(?:{_NUMBER}|\*)){{0,2}}(?:-[0-9A-Za-z.-]+)?\s*")


def exact(what: str, version: str) -> str:
    """Return a SemVer 2.0 version."""
    if not isinstance(version, str) or not _SEMVER.fullmatch(version):
        raise bad_argument(f'{what} is a version such as "1.0.0", not {version!r}')
    return version


def exact_or_range(what: str, version: str) -> str:
    """Return a version, or a range such as ``">=1.1,<2"``."""
    if isinstance(version, str) and _SEMVER.fullmatch(version):
        return version
    return version_range(what, version)


def version_range(what: str, text: str) -> str:
    """Return a range of versions."""
    if not isinstance(text, str) or not all(map(_COMPARATOR.fullmatch, text.split(","))):
        raise bad_argument(f'{what} is a version or a range such as ">=1.1,<2" or "^1.2", not {text!r}')
    return text


def is_curated(image: str) -> bool:
    """Return whether a full name is one of the images that come with the platform."""
    return image.startswith("manta_light:")


def image(value: str) -> str:
    """Return an image's full name: ``"pytorch"`` is short for ``"manta_light:pytorch"``."""
    if not isinstance(value, str) or not value.strip() or value != value.strip() or " " in value:
        raise bad_argument(f'`image` is a name such as "manta_light:pytorch", not {value!r}')
    if value in _CURATED:
        return f"manta_light:{value}"
    found = re.fullmatch(r"(.+):([0-9][0-9.]*)\+", value)
    if found is not None:
        family = f"manta_light:{found[1]}" if found[1] in _CURATED else found[1]
        return f"{family}>={found[2]}"
    return value
