"""Reads the frame of Arrow's own formats, to know what a compressed table would take before any of it is unpacked.

Only what leads to the lengths of buffers is looked at: the messages of a stream, or the blocks that a file's footer
names, and in each the sizes that its compressed buffers say they have.
"""

import struct
from typing import Iterator, Tuple

_MARK = b"ARROW1"
_CONTINUED = 0xFFFFFFFF
_DICTIONARY, _BATCH = 2, 3
_MESSAGES_MAX = 1_000_000


def unpacked_bytes(data: memoryview) -> int:
    """Return how many bytes the compressed buffers of an Arrow file or stream say they become; 0 without any.

    Parameters
    ----------
    data : memoryview
        The whole file or stream.

    Raises
    ------
    ValueError
        If its frame cannot be followed.
    """
    blocks = _file_blocks(data) if bytes(data[:6]) == _MARK else _stream_blocks(data)
    try:
        return sum(_of_message(data, start, body) for start, body in blocks)
    except struct.error as error:
        raise ValueError(f"its frame leads out of it: {error}") from None


def _stream_blocks(data: memoryview) -> Iterator[Tuple[int, int]]:
    """Yield where each message and its body begin."""
    position = 0
    for _ in range(_MESSAGES_MAX):
        if position + 4 > len(data):
            return
        size = _number(data, "<I", position)
        position += 4
        if size == _CONTINUED:
            size = _number(data, "<I", position)
            position += 4
        if size == 0:
            return
        body = position + size
        yield position, body
        position = body + _message(data, position)[2]
    raise ValueError(f"it has more than {_MESSAGES_MAX} messages")


def _file_blocks(data: memoryview) -> Iterator[Tuple[int, int]]:
    """Yield the same of the blocks that a file's footer names."""
    length = _number(data, "<i", len(data) - 10)
    footer = _root(data, len(data) - 10 - length)
    for field in (2, 3):  # dictionaries, record batches
        for start in _structs(data, footer, field, 24):
            offset, size = _number(data, "<q", start), _number(data, "<i", start + 8)
            prefix = 8 if _number(data, "<I", offset) == _CONTINUED else 4
            yield offset + prefix, offset + size


def _of_message(data: memoryview, start: int, body: int) -> int:
    kind, header, _ = _message(data, start)
    if kind == _DICTIONARY:
        header = _table(data, header, 1)
    elif kind != _BATCH:
        return 0
    if not header or not _field(data, header, 3):
        return 0
    total = 0
    for place in _structs(data, header, 2, 16):
        offset, length = _number(data, "<q", place), _number(data, "<q", place + 8)
        if length == 0:
            continue
        size = _number(data, "<q", body + offset)
        if size < -1:
            raise ValueError("a compressed buffer says that it becomes less than nothing")
        total += length - 8 if size == -1 else size
    return total


def _message(data: memoryview, start: int) -> Tuple[int, int, int]:
    """Return a message's kind, where its header is, and the bytes of its body."""
    root = _root(data, start)
    kind, length = _field(data, root, 1), _field(data, root, 3)
    body = _number(data, "<q", length) if length else 0
    if body < 0:
        raise ValueError("a message has a body of less than nothing")
    return _number(data, "<B", kind) if kind else 0, _table(data, root, 2), body


def _root(data: memoryview, start: int) -> int:
    return start + _number(data, "<I", start)


def _field(data: memoryview, table: int, index: int) -> int:
    """Return where a field of a table stands, or 0 where the table leaves it out."""
    places = table - _number(data, "<i", table)
    slot = 4 + 2 * index
    offset = _number(data, "<H", places + slot) if slot < _number(data, "<H", places) else 0
    return table + offset if offset else 0


def _table(data: memoryview, table: int, index: int) -> int:
    """Return where the table that a field points to begins, or 0."""
    field = _field(data, table, index)
    return field + _number(data, "<I", field) if field else 0


def _structs(data: memoryview, table: int, index: int, size: int) -> Iterator[int]:
    """Yield where each entry of a field that is a list begins."""
    vector = _table(data, table, index)
    count = _number(data, "<I", vector) if vector else 0
    if count * size > len(data):
        raise ValueError("a list of it is longer than all of it")
    return iter(range(vector + 4, vector + 4 + count * size, size))


def _number(data: memoryview, form: str, offset: int) -> int:
    if offset < 0:
        raise ValueError("its frame leads before its beginning")
    return int(struct.unpack_from(form, data, offset)[0])
