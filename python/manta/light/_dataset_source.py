"""The file behind a dataset: read under one rule, so that whatever is wrong with it is told in the same words."""

import contextlib
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Iterator, Tuple, Type

from .errors import DataCorruptionError

_DAMAGE: Tuple[Type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Source:
    """A dataset's file, as it was when it was opened.

    Parameters
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    form : str
        What it should be, for messages: ``".npz file"``.

    Raises
    ------
    DataCorruptionError
        If nothing can be read there.
    """

    def __init__(self, name: str, path: Path, form: str) -> None:
        self.name, self.path, self.form = name, path, form
        self._stamp = self._look()

    @contextlib.contextmanager
    def reading(self, *further: Type[Exception], part: str = "") -> Iterator[None]:
        """Read in the block: what fails is damage, and so is a file that has become another one meanwhile.

        Parameters
        ----------
        *further : type of Exception
            What a library raises beside the usual errors.
        part : str
            What is read, where it is not the whole: ``'the array "x" of '``.
        """
        try:
            yield
        except _DAMAGE + further as error:
            self._check()
            told = str(error) or type(error).__name__
            what = f'{part}the dataset "{self.name}" ({self.path.name})'
            raise DataCorruptionError(f"{what} is no readable {self.form}: {told}") from error
        self._check()

    def _check(self) -> None:
        if self._look() != self._stamp:
            message = f'the dataset "{self.name}" ({self.path.name}) was changed while it was open'
            raise DataCorruptionError(
                message, hint="put a new version beside the old one, and offer it when it is whole"
            )

    def _look(self) -> Tuple[int, int, int, int]:
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
        except OSError as error:
            message = f'the dataset "{self.name}" ({self.path.name}) cannot be read: {error.strerror or error}'
            raise DataCorruptionError(message) from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
