"""A module: the code of a task, and what it needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manta._errors import bad_argument
from manta.apis import _arguments, _paths, _versions


class Module:
    """Code that nodes run, with its environment and needs.

    Parameters
    ----------
    python_program : str or path, optional
        A ``.py`` file or a directory with ``__init__.py``, beside the calling file or in the
        working directory; or the name of a published module. None, the default, runs the own
        program of ``image``: it succeeds if it exits with status 0.
    image : str, optional
        The environment, e.g. ``"manta_light:pytorch"`` or short ``"pytorch"``. Default:
        ``manta_light:latest``.
    datasets : sequence of str, optional
        The datasets that the code may open. It runs only where all of them are offered.
    name : str, optional
        Default: the stem of the path, or the last part of the image's name.
    version : str, optional
        A SemVer 2.0 version; of a published module, a range, too.
    entry : str, optional
        The task class to run, where the code has several and no ``main()``.
    requires_manta : str, optional
        The platform versions that the code works with, e.g. ``">=0.3.0"``.
    images : sequence of str, optional
        Other images that the code works with.
    resources : mapping, optional
        Limits: ``{"cpu": 2, "memory": "2GiB", "gpu": 1, "gpu_memory": "8GiB", "tmp": "1GiB",
        "pids": 256}``.
    isolation : str, optional
        ``"strict"`` opts out of warm starts.
    description : str, optional
        One sentence for people.

    Raises
    ------
    AuthoringError
        If the path is not there, or an argument cannot be used.

    Examples
    --------
    >>> Module("fl_worker", version="1.0.0").name
    'fl_worker'
    """

    @_arguments.keywords
    def __init__(
        self,
        python_program: str | os.PathLike[str] | None = None,
        image: str | None = None,
        datasets: Iterable[str] | None = None,
        name: str | None = None,
        version: str | None = None,
        *,
        entry: str | None = None,
        requires_manta: str | None = None,
        images: Iterable[str] | None = None,
        resources: Mapping[str, Any] | None = None,
        isolation: str | None = None,
        description: str | None = None,
    ) -> None:
        self.python_program = python_program
        self.path = _find(python_program, version)
        self.image = None if image is None else _versions.image(image)
        self.datasets = None if datasets is None else _arguments.names("dataset", datasets)
        self._name = None if name is None else _arguments.component("module", name)
        self.version = None if version is None else self._checked_version(version)
        self.entry = None if entry is None else _identifier(entry)
        self.requires_manta = (
            None if requires_manta is None else _versions.version_range("`requires_manta`", requires_manta)
        )
        self.images = tuple(_versions.image(entry) for entry in _arguments.names("image", images))
        self.resources = None if resources is None else _arguments.resources(resources)
        self.isolation = None if isolation is None else _arguments.choice("isolation", isolation, ("strict",))
        self.description = None if description is None else _arguments.text("description", description)
        if python_program is None:
            self._check_image_only()

    @property
    def name(self) -> str:
        """The module's name."""
        if self._name is not None:
            return self._name
        if self.path is not None:
            return self.path.stem if self.path.is_file() else self.path.name
        return str(self.python_program or _short(self.image or ""))

    def __repr__(self) -> str:
        version = f", version={self.version!r}" if self.version else ""
        return f"Module({self.name!r}{version})"

    def _checked_version(self, version: str) -> str:
        if self.path is None and self.python_program is not None:
            return _versions.exact_or_range("`version`", version)
        return _versions.exact("the `version` of a module that is not a published one", version)

    def _check_image_only(self) -> None:
        if self.image is None:
            raise bad_argument("a module without `python_program` runs its image's program, so `image` is needed")
        curated = next((image for image in (self.image, *self.images) if _versions.is_curated(image)), None)
        if curated is not None:
            message = f"the image `{curated}` is an environment for modules and has no program of its own"
            raise bad_argument(message, hint="name the file or directory of a module, or an image that runs a program")
        if self.entry is not None:
            raise bad_argument("`entry` names a class of code, and a module without `python_program` has none")
        _arguments.component("module", self.name)


def _find(program: str | os.PathLike[str] | None, version: str | None) -> Path | None:
    """Return the code's path, or ``None`` for a published module or an image's own program."""
    if program is None:
        return None
    if not isinstance(program, (str, os.PathLike)):
        raise bad_argument(f"`python_program` is a path or a module's name, not {program!r}")
    if not os.fspath(program):
        raise bad_argument("`python_program` is empty")
    if _paths.looks_like_path(program):
        return _paths.require(program)
    found = _paths.look_up(program)
    if version is not None:
        if found is not None:
            message = f"`{program}` with `version` is the published module, and `{found}` exists, too"
            raise bad_argument(message, hint=f'write "./{program}" for the directory, or rename one of them')
        return None
    return None if found is None else _paths.require(program)


def _short(image: str) -> str:
    """Return the last part of an image's name, without tag, version and digest."""
    return re.split(r"[:@<>=]", image.rpartition("/")[2])[0] or image


def _identifier(entry: object) -> str:
    if not isinstance(entry, str) or not entry.isidentifier():
        raise bad_argument(f"`entry` is the name of a task class, not {entry!r}")
    return entry
