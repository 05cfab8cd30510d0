"""Decodes a value in place: arrays are views of the given memory. Strict and bounded."""

import json
import math
import mmap
import os
import re
import sys
from typing import Any, Dict, List, Tuple, Union

from . import _arrays, _format
from ._read import Reader

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def decode(data: Union[bytes, bytearray, memoryview, mmap.mmap]) -> Any:
    """Return the value that ``data`` holds.

    Parameters
    ----------
    data : bytes-like or mmap
        One encoded value, to the last byte. Arrays are views of a ``mmap``; from anything
        else they are views of one private copy.

    Returns
    -------
    object
        Equal to what was encoded and of the same type; arrays are writable where ``data`` is.

    Raises
    ------
    ValueError
        If ``data`` breaks a rule of the format; says which.
    """
    if not isinstance(data, mmap.mmap):
        data = _private_copy(data)
    view = memoryview(data)
    tree, places = _header(view)
    reader = Reader(view, places)
    value = reader.node(tree, 0)
    reader.check_all_used()
    return value


def decode_descriptor(fd: int) -> Any:
    """Return the value in a file, mapped privately: nothing is copied until it is written to.

    Parameters
    ----------
    fd : int
        A readable descriptor, which stays open; the whole file is one value.

    Returns
    -------
    object
        The value; its arrays are writable, and writes are seen by nobody else.

    Raises
    ------
    ValueError
        If the file breaks a rule of the format.
    """
    size = os.fstat(fd).st_size
    if size < _format.PREFIX.size:
        raise ValueError(f"a value of {size} bytes is too short")
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    options: Dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    return decode(mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=protection, **options))


def _private_copy(data: Union[bytes, bytearray, memoryview]) -> mmap.mmap:
    source = memoryview(data).cast("B")
    copy = mmap.mmap(-1, max(len(source), _format.PREFIX.size))
    copy[: len(source)] = source
    if len(source) < _format.PREFIX.size:
        raise ValueError(f"a value of {len(source)} bytes is too short")
    return copy


def _header(view: memoryview) -> Tuple[Any, List[Tuple[int, int]]]:
    magic, version, zero, length = _format.PREFIX.unpack_from(view)
    if magic != _format.MAGIC:
        raise ValueError("the bytes are no encoded value: the magic number is missing")
    if version != _format.VERSION or zero != 0:
        raise ValueError(f"the value has format version {version}, this release reads {_format.VERSION}")
    end = _format.PREFIX.size + length
    if length > _format.HEADER_BYTES_MAX or end > len(view):
        raise ValueError(f"a header of {length} bytes is too long")
    document = _parse(bytes(view[_format.PREFIX.size : end]))
    if not isinstance(document, dict) or document.keys() != {"tree", "buffers"}:
        raise ValueError("the header is not an object of tree and buffers")
    return document["tree"], _places(view, document["buffers"], length)


def _places(view: memoryview, listed: Any, header_bytes: int) -> List[Tuple[int, int]]:
    pairs = listed if isinstance(listed, list) else None
    if pairs is None or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError("the buffers are not a list of offsets and sizes")
    if not all(_arrays.is_count(number) for pair in pairs for number in pair):
        raise ValueError("a buffer's offset or size is no count")
    expected = _format.place([pair[1] for pair in pairs], header_bytes)
    if [tuple(pair) for pair in pairs] != expected:
        raise ValueError("the buffers do not follow each other at multiples of 64")
    if _format.total_bytes(expected, header_bytes) != len(view):
        raise ValueError("the value's length is not what its header says")
    end = _format.PREFIX.size + header_bytes
    for start, size in [*expected, (len(view), 0)]:
        if any(view[end:start]):
            raise ValueError("the padding holds other bytes than zero")
        end = start + size
    return expected


def _parse(header: bytes) -> Any:
    limit = 4 * _format.NODES_MAX
    if _separators(header) > limit and _separators(_STRINGS.sub(b"", header)) > limit:
        raise ValueError(f"the tree has more than {_format.NODES_MAX} entries")
    try:
        text = header.decode("utf-8")
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_small_int,
            parse_float=_finite,
            parse_constant=_refuse,
        )
        if "\\u" in text:
            _format.dump_json(document)  # an escaped surrogate without its pair fails to encode
        return document
    except RecursionError:
        raise ValueError("the header is nested too deep") from None


def _separators(header: bytes) -> int:
    return header.count(b",") + header.count(b"[") + header.count(b"{")


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object of the header has a key twice")
    return document


def _small_int(text: str) -> int:
    number = int(text) if len(text) <= 20 else None
    if number is None or not _format.INT_MIN <= number <= _format.INT_MAX:
        raise ValueError("a plain number of the header is beyond 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number of the header is beyond a float")
    return number


def _refuse(text: str) -> Any:
    raise ValueError(f"the header holds {text}, which is not JSON")
