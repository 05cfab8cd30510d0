"""``python -m manta._pull JOB``: write values as files of other programs, for ``manta results pull``.

The job is a JSON file: ``format``, and ``files``, each with its ``name``, the encoded value (``value``) and the file to
write (``to``). A value that a format has no form for ends the job with one JSON object on standard error.
"""

from __future__ import annotations

import base64
import csv
import datetime
import json
import math
import mmap
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manta import _codes
from manta.light._values import decode

_SAFETENSORS = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<u4": "U32",
    "<i4": "I32",
    "<u8": "U64",
    "<i8": "I64",
    "<f2": "F16",
    "<f4": "F32",
    "<f8": "F64",
    "<c8": "C64",
}
_ALONE = "value"
"""What an array or a column is called that has no name of its own."""


class _NoForm(Exception):
    """A value has no form in the format."""


def main(arguments: list[str] | None = None) -> int:
    """Do the job that the file describes and return the exit code."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    job = json.loads(Path(name).read_bytes())
    write = _WRITERS[job["format"]]
    for file in job["files"]:
        try:
            write(Path(file["to"]), _read(Path(file["value"])))
        except (_NoForm, ValueError) as error:
            told = {
                "code": _codes.VALUE_NOT_CARRIED,
                "message": f"`{file['name']}` cannot be written as {job['format']}: {error}",
                "hint": "take another --format; `value` keeps every value as it is",
            }
            print(json.dumps(told), file=sys.stderr)
            return 4
    return 0


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        return decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _plain(value: Any) -> Any:
    """Return tensors as arrays and tables as mappings of columns; anything else as it is."""
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    if kind == "torch.Tensor":
        try:
            return value.detach().cpu().resolve_conj().resolve_neg().numpy()
        except TypeError as error:
            raise _NoForm(f"numpy has no type for {value.dtype}") from error
    if kind == "pandas.DataFrame":
        return {str(name): value[name].to_numpy() for name in value.columns}
    if kind == "pyarrow.Table":
        return {name: value.column(name).to_numpy() for name in value.column_names}
    return value


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "dtype")


def _arrays(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every array in a value with the path to it, as ``layers.0.weight``."""
    import numpy

    value = _plain(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _arrays(item, f"{name}.{key}" if name else str(key))
        return
    if isinstance(value, (list, tuple)) and not all(isinstance(item, (bool, int, float)) for item in value):
        for index, item in enumerate(value):
            yield from _arrays(item, f"{name}.{index}" if name else str(index))
        return
    if not (_is_array(value) or isinstance(value, (bool, int, float, complex, str, list, tuple))):
        raise _NoForm(f"{name or 'it'} is {_article(value)}, which is no array")
    array = numpy.asarray(value)
    if array.dtype.hasobject:
        raise _NoForm(f"{name or 'it'} holds objects, which are no array")
    yield name or _ALONE, array


def _named(value: Any) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, array in _arrays(value):
        safe = "".join("_" if letter in "/\\" or ord(letter) < 32 else letter for letter in name)
        if safe in named:
            raise _NoForm(f"two of its arrays are called `{safe}`")
        named[safe] = array
    return named


def _write_npz(path: Path, value: Any) -> None:
    import numpy

    named = _named(value)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in named.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                numpy.lib.format.write_array(entry, array, allow_pickle=False)


def _write_safetensors(path: Path, value: Any) -> None:
    import numpy

    header: dict[str, Any] = {}
    bodies: list[Any] = []
    at = 0
    for name, array in _named(value).items():
        body = numpy.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        kind = _SAFETENSORS.get(body.dtype.str)
        if kind is None:
            raise _NoForm(f"{name} is of type {array.dtype}, which safetensors does not know")
        header[name] = {"dtype": kind, "shape": list(body.shape), "data_offsets": [at, at + body.nbytes]}
        bodies.append(body)
        at += body.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for body in bodies:
            file.write(body.tobytes())


def _write_csv(path: Path, value: Any) -> None:
    columns, rows = _table(_plain(value))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _table(value: Any) -> tuple[list[str], Iterator[Any]]:
    if isinstance(value, Mapping):
        columns = {str(key): _column(item) for key, item in value.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise _NoForm("its columns are of different lengths")
        return list(columns), iter(zip(*columns.values()))
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        names = list(dict.fromkeys(str(key) for item in value for key in item))
        return names, ([_cell(item.get(name, "")) for name in names] for item in value)
    if _is_array(value) and value.ndim == 2:
        return [str(index) for index in range(value.shape[1])], iter(value.tolist())
    return [_ALONE], ([item] for item in _column(value))


def _column(value: Any) -> list[Any]:
    value = _plain(value)
    if _is_array(value):
        if value.ndim > 1:
            raise _NoForm("an array of several dimensions is no column")
        return list(value.tolist()) if value.ndim == 1 else [value.item()]
    if isinstance(value, (list, tuple)):
        return [_cell(item) for item in value]
    return [_cell(value)]


def _cell(value: Any) -> Any:
    if _is_array(value) and value.ndim == 0:
        return value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str, datetime.date)):
        return value
    raise _NoForm(f"{_article(value)} is no cell of a table")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _jsonable(value: Any) -> Any:
    value = _plain(value)
    if _is_array(value):
        return _jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [_jsonable(item) for item in sorted(value, key=repr)]
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, complex):
        return [_jsonable(value.real), _jsonable(value.imag)]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    raise _NoForm(f"it holds {_article(value)}")


def _article(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


_WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "npz": _write_npz,
    "safetensors": _write_safetensors,
}

if __name__ == "__main__":
    sys.exit(main())
