"""Datasets that are arrays: ``.npy`` and ``.npz``. numpy is imported where one is opened."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Tuple, Type

from ._dataset_source import Source
from ._names import did_you_mean, quoted
from .errors import DatasetUnavailable, MantaError

if TYPE_CHECKING:
    import numpy as np

_array_class: Optional[Type[Any]] = None


def require_numpy(what: str) -> Any:
    """Import numpy.

    Raises
    ------
    MantaError
        If the image has none; names ``what`` needs it.
    """
    try:
        import numpy
    except ImportError as error:
        hint = 'make the module with image="manta_light:numpy"'
        raise MantaError(f"{what} needs numpy, which this image lacks", hint=hint) from error
    return numpy


def open_npy(name: str, path: Path) -> "np.ndarray[Any, Any]":
    """Map a ``.npy`` file read-only, as an array with ``.name`` and ``.path``.

    Raises
    ------
    DataCorruptionError
        If the file is damaged, or holds Python objects.
    """
    numpy = require_numpy(f'the dataset "{name}"')
    with Source(name, path, ".npy file").reading():
        mapped = numpy.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, numpy.memmap):
            raise ValueError("it is an archive of arrays")
    array = mapped.view(_class(numpy))
    array.name, array.path = name, path
    return array  # type: ignore[no-any-return]


def _class(numpy: Any) -> Type[Any]:
    """Return the array class of datasets: a memory map that knows its name.

    What is computed or cut from such an array is a plain array, or a scalar.
    """
    global _array_class
    if _array_class is None:

        def getitem(self: Any, index: Any) -> Any:
            part = numpy.memmap.__getitem__(self, index)
            return part.view(numpy.ndarray) if isinstance(part, numpy.ndarray) else part

        def array_wrap(self: Any, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
            return array[()] if array.shape == () else array.view(numpy.ndarray)

        def fspath(self: Any) -> str:
            return str(self.path)

        attributes = {
            "name": None,
            "path": None,
            "__module__": __name__,
            "__getitem__": getitem,
            "__array_wrap__": array_wrap,
            "__fspath__": fspath,
        }
        _array_class = type("DatasetArray", (numpy.memmap,), attributes)
    return _array_class


class NpzDataset(Mapping[str, Any]):
    """A mapping of arrays in a ``.npz`` file; each is read when it is asked for.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._numpy = require_numpy(f'the dataset "{name}"')
        self._source = Source(name, path, ".npz file")
        with self._source.reading(AttributeError, RuntimeError):
            with zipfile.ZipFile(path):  # numpy leaves a file open that is no archive
                pass
            self._archive = self._numpy.load(path, allow_pickle=False)
            self._names: Tuple[str, ...] = tuple(self._archive.files)
        self._shapes: Optional[Dict[str, Tuple[int, ...]]] = None

    @property
    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """The shape of each array, read from the arrays' headers."""
        if self._shapes is None:
            with self._source.reading(RuntimeError), zipfile.ZipFile(self.path) as archive:
                self._shapes = {name: self._shape_of(archive, name) for name in self._names}
        return dict(self._shapes)

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the only, or the first, array."""
        return self.shapes[self._names[0]] if self._names else (0,)

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            message = f'the dataset "{self.name}" has no array "{key}"; it has {quoted(self._names)}'
            raise DatasetUnavailable(message, hint=did_you_mean(str(key), self._names))
        with self._source.reading(RuntimeError, part=f'the array "{key}" of '):
            return self._archive[key]

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'NpzDataset("{self.name}", {self.shapes})'

    def _shape_of(self, archive: zipfile.ZipFile, name: str) -> Tuple[int, ...]:
        layout = self._numpy.lib.format
        with self._source.reading(RuntimeError, part=f'the array "{name}" of '), archive.open(f"{name}.npy") as member:
            version = layout.read_magic(member)
            read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
            return tuple(read(member)[0])
