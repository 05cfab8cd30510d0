"""Encodes a value into buffers that can be written out without copying large arrays."""

import os
from typing import Any, Iterator, List, Sequence, Tuple

from ..errors import ValueNotCarried
from . import _format
from ._walk import Refused, Walk

_WRITE_BYTES_MAX = 1 << 30
_WRITE_PARTS_MAX = 512


class Encoded:
    """One encoded value: a header and the buffers behind it, not yet joined.

    The buffers look into the value's own arrays, so it is written before the value changes.

    Parameters
    ----------
    tree : object
        The JSON tree.
    buffers : sequence of memoryview
        The bytes that the tree refers to by index.
    """

    def __init__(self, tree: Any, buffers: Sequence[memoryview]) -> None:
        sizes = [len(buffer) for buffer in buffers]
        self._buffers = buffers
        self._header, self._places = _settle(tree, sizes)
        self.header_bytes = len(self._header)
        self.nbytes = _format.total_bytes(self._places, self.header_bytes)

    def parts(self) -> Iterator[memoryview]:
        """Yield the pieces of the value in order, padding included."""
        prefix = _format.PREFIX.pack(_format.MAGIC, _format.VERSION, 0, len(self._header))
        end = len(prefix) + len(self._header)
        yield memoryview(prefix + self._header)
        for (start, size), buffer in zip(self._places, self._buffers):
            yield memoryview(bytes(start - end))
            yield buffer
            end = start + size
        yield memoryview(bytes(self.nbytes - end))

    def to_bytes(self) -> bytes:
        """Return the whole value in one piece."""
        return b"".join(self.parts())

    def write(self, fd: int) -> None:
        """Write the value to a file descriptor, without joining the pieces first."""
        batch: List[memoryview] = []
        for part in self.parts():
            for start in range(0, len(part), _WRITE_BYTES_MAX):
                batch.append(part[start : start + _WRITE_BYTES_MAX])
                if len(batch) == _WRITE_PARTS_MAX:
                    _write_all(fd, batch)
                    batch = []
        _write_all(fd, batch)


def encode(value: Any, subject: str = "value") -> Encoded:
    """Encode ``value``.

    Parameters
    ----------
    value : object
        What to carry.
    subject : str
        How errors call it, e.g. ``'result "model"'``.

    Returns
    -------
    Encoded
        Ready to be written.

    Raises
    ------
    ValueNotCarried
        If some part cannot be carried; says which, and what to write in its place.
    """
    walk = Walk()
    try:
        tree = walk.node(value, 0)
    except Refused as refused:
        path = "".join(reversed(refused.path))
        message = f"{subject}{path} cannot be carried: {refused.reason}"
        raise ValueNotCarried(message, hint=refused.conversion) from None
    encoded = Encoded(tree, walk.buffers)
    if encoded.header_bytes > _format.HEADER_BYTES_MAX:
        message = f"{subject} cannot be carried: its structure takes {encoded.header_bytes} bytes"
        raise ValueNotCarried(message, hint="hold numbers in numpy arrays, text in fewer strings")
    return encoded


def _settle(tree: Any, sizes: Sequence[int]) -> Tuple[bytes, List[Tuple[int, int]]]:
    """Find the header whose buffer offsets agree with its own length."""
    tree_json = _format.dump_json(tree)
    length = 0
    while True:
        places = _format.place(sizes, length)
        header = b'{"tree":%b,"buffers":%b}' % (tree_json, _format.dump_json(places))
        if len(header) == length:
            return header, places
        length = len(header)


def _write_all(fd: int, parts: List[memoryview]) -> None:
    while parts:
        written = os.writev(fd, parts)
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][written:]
