"""The layout of an encoded value: magic, header, and buffers aligned for reading in place."""

import json
import struct
from typing import Any, Collection, List, Sequence, Tuple

MAGIC = b"MANTAVAL"
VERSION = 1
PREFIX = struct.Struct("<8sIIQ")
"""Magic, version, zero, and the header's length in bytes."""

ALIGNMENT = 64
"""Every buffer begins at a multiple of this, counted from the first byte."""

DEPTH_MAX = 64
"""Containers inside containers."""

NODES_MAX = 1_000_000
"""Entries of the tree: every scalar, container and tagged object counts one."""

HEADER_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of the JSON header."""

INLINE_TEXT_MAX = 64 * 1024
"""UTF-8 bytes of a string that stays in the header; longer strings become buffers."""

PACKED_LIST_MIN = 1024
"""Entries from which a list of floats only, or of 64-bit ints only, becomes a buffer."""

COLLISIONS_MAX = 1000
"""Keys of a dict, or entries of a set, that may have the hash of another: each is compared with all of that hash."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def align(offset: int) -> int:
    """Return the first multiple of :data:`ALIGNMENT` that is not below ``offset``."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def has_collisions(keys: Collection[Any]) -> bool:
    """Return whether so many of the keys share a hash that making a dict or set of them could take hours."""
    return len(keys) > COLLISIONS_MAX and len(keys) - len({hash(key) for key in keys}) > COLLISIONS_MAX


def place(sizes: Sequence[int], header_bytes: int) -> List[Tuple[int, int]]:
    """Return (offset, size) of each buffer behind a header of that length."""
    places = []
    end = PREFIX.size + header_bytes
    for size in sizes:
        start = align(end)
        places.append((start, size))
        end = start + size
    return places


def total_bytes(places: Sequence[Tuple[int, int]], header_bytes: int) -> int:
    """Return the length of the whole value; padding follows the header, not the last buffer."""
    return places[-1][0] + places[-1][1] if places else align(PREFIX.size + header_bytes)


def dump_json(document: Any) -> bytes:
    """Return the compact UTF-8 JSON form; it refuses NaN and infinities."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


_QUIET_NAN = 0x7FF8000000000000


def odd_float_text(value: float) -> str:
    """Return how a float that is not finite is written: ``inf``, ``nan``, or ``nan:`` and its 64 bits."""
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return repr(value) if value == value or bits == _QUIET_NAN else f"nan:{bits:016x}"


def odd_float(text: Any) -> float:
    """Return the float of :func:`odd_float_text`.

    Raises
    ------
    ValueError
        If the text is not in that form.
    """
    if text in ("nan", "inf", "-inf"):
        return float(text)
    if isinstance(text, str) and text.startswith("nan:") and len(text) == 20 and text.isascii():
        (value,) = struct.unpack("<d", struct.pack("<Q", int(text[4:], 16)))
        if odd_float_text(value) == text:
            return float(value)
    raise ValueError("a tagged float is neither nan nor infinite")
