"""Datasets that are a plain file or a directory."""

from pathlib import Path
from typing import IO, Any, Iterator, List, Optional, Tuple, Union

from ._dataset_source import Source
from ._names import did_you_mean
from .errors import DatasetUnavailable


class FileDataset:
    """A dataset that is one file of any kind.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    shape : tuple of int
        ``(bytes,)``.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._source = Source(name, path, "file")
        self.shape: Tuple[int] = (path.stat().st_size,)

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the file; ``options`` are those of the built-in ``open``."""
        with self._source.reading():
            return open(self.path, mode, **options)

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        with self._source.reading():
            return self.path.read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole file as text."""
        with self._source.reading():
            return self.path.read_text(encoding=encoding)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'FileDataset("{self.name}", {self.shape[0]} bytes)'


class TreeDataset:
    """A dataset that is a directory.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The directory.
    shape : tuple of int
        ``(files,)``, counted through all directories.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._files: Optional[List[Path]] = None

    @property
    def shape(self) -> Tuple[int]:
        """``(files,)``."""
        return (len(self.files()),)

    def files(self, pattern: str = "*") -> List[Path]:
        """Return the files whose name matches ``pattern``, through all directories, sorted."""
        if self._files is None:
            self._files = sorted(entry for entry in self.path.rglob("*") if entry.is_file())
        return [entry for entry in self._files if entry.match(pattern)]

    def open(self, inner: Union[str, Path], mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the file at a path inside the directory.

        Raises
        ------
        DatasetUnavailable
            If there is no such file.
        """
        path = self.path / inner
        if not path.is_file():
            known = [str(entry.relative_to(self.path)) for entry in self.files()]
            message = f'the dataset "{self.name}" has no file "{inner}"'
            raise DatasetUnavailable(message, hint=did_you_mean(str(inner), known))
        return open(path, mode, **options)

    def __iter__(self) -> Iterator[Path]:
        return iter(self.files())

    def __len__(self) -> int:
        return len(self.files())

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'TreeDataset("{self.name}", {self.shape[0]} files)'
