"""Datasets in the safetensors format: an index in JSON, and raw arrays behind it that stay where they are."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple

from ._dataset_arrays import require_numpy
from ._dataset_source import Source
from ._names import did_you_mean, quoted
from ._values import json_to_dtype
from .errors import DatasetUnavailable

_HEADER_BYTES_MAX = 100_000_000
_CODES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


class SafetensorsDataset(Mapping[str, Any]):
    """A mapping of memory-mapped, read-only arrays in a ``.safetensors`` file.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    shapes : dict of str to tuple of int
        The shape of each array.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        numpy = require_numpy(f'the dataset "{name}"')
        self._source = Source(name, path, ".safetensors file")
        with self._source.reading():
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= _HEADER_BYTES_MAX:
                    raise ValueError(f"its index has {length} bytes")
                entries = json.loads(file.read(length))
            begin, size = 8 + length, path.stat().st_size
            self._entries = {key: _checked(key, entries[key], size - begin) for key in _names(entries)}
        self.shapes: Dict[str, Tuple[int, ...]] = {key: shape for key, (_, shape, _) in self._entries.items()}
        self._data = numpy.memmap(path, mode="r", offset=begin) if size > begin else numpy.empty(0, "|u1")

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the only, or the first, array."""
        return next(iter(self.shapes.values()), (0,))

    def __getitem__(self, key: str) -> Any:
        if key not in self._entries:
            message = f'the dataset "{self.name}" has no array "{key}"; it has {quoted(self._entries)}'
            raise DatasetUnavailable(message, hint=did_you_mean(str(key), self._entries))
        code, shape, (start, end) = self._entries[key]
        numpy = require_numpy(f'the dataset "{self.name}"')
        try:
            dtype = json_to_dtype(code)
        except ValueError as error:
            raise DatasetUnavailable(f'the array "{key}" of the dataset "{self.name}": {error}') from error
        with self._source.reading(part=f'the array "{key}" of '):
            return numpy.frombuffer(self._data[start:end], dtype).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'SafetensorsDataset("{self.name}", {self.shapes})'


_Entry = Tuple[str, Tuple[int, ...], Tuple[int, int]]


def _names(entries: Any) -> "list[str]":
    if not isinstance(entries, dict):
        raise ValueError("its index is no object")
    return [key for key in entries if key != "__metadata__"]


def _checked(key: str, entry: Any, size: int) -> _Entry:
    """Return dtype, shape and place of one array, if they fit together and into the file."""
    code, shape, (start, end) = _CODES.get(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    if code is None:
        raise ValueError(f'the array "{key}" has the unknown dtype {str(entry["dtype"])[:32]!r}')
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)) or not start <= end <= size:
        raise ValueError(f'the array "{key}" lies outside of the file')
    count = 1
    for extent in shape:
        count *= extent
    item = _item_bytes(code)
    if count * item != end - start:
        raise ValueError(f'the array "{key}" of shape {shape} has {end - start} bytes')
    return code, shape, (start, end)


def _item_bytes(code: str) -> int:
    if code == "bfloat16":
        return 2
    return 1 if code.startswith("float8") else int(code[2:])
