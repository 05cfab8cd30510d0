"""Turns the JSON tree of a header and its buffers back into the value."""

import array
import collections
import datetime
import re
import sys
from typing import Any, Callable, Dict, List, Tuple

from . import _arrays, _format, _tables, _tensors


class Reader:
    """One pass over a tree: makes the value, and sees that each buffer is used once."""

    def __init__(self, view: memoryview, places: List[Tuple[int, int]]) -> None:
        self._view = view
        self._places = places
        self._used = [False] * len(places)
        self._count = 0

    def node(self, tree: Any, depth: int) -> Any:
        """Return the value of one entry of the tree."""
        self._count += 1
        if self._count > _format.NODES_MAX:
            raise ValueError(f"the tree has more than {_format.NODES_MAX} entries")
        if depth > _format.DEPTH_MAX:
            raise ValueError(f"the tree is nested more than {_format.DEPTH_MAX} deep")
        if isinstance(tree, list):
            return [self.node(entry, depth + 1) for entry in tree]
        if not isinstance(tree, dict):
            return tree
        if "$" in tree:
            return self._tagged(tree, depth)
        return {key: self.node(entry, depth + 1) for key, entry in tree.items()}

    def check_all_used(self) -> None:
        """Refuse a value with bytes that no entry refers to."""
        if not all(self._used):
            raise ValueError("a buffer is used by no entry of the tree")

    def _tagged(self, tree: Dict[str, Any], depth: int) -> Any:
        tag = tree["$"]
        known = _READERS.get(tag) if isinstance(tag, str) else None
        if known is None:
            raise ValueError(f"unknown tag {str(tag)[:64]!r}: the value was written by a newer release")
        fields, reader = known
        if tree.keys() - {"$"} != fields and not (tag == "datetime" and tree.keys() == {"$", "v", "fold"}):
            raise ValueError(f"an entry with the tag {tag!r} has the wrong fields")
        return reader(self, tree, depth)

    def _buffer(self, index: Any) -> memoryview:
        if not _arrays.is_count(index) or index >= len(self._places):
            raise ValueError("an entry refers to a buffer that is not there")
        if self._used[index]:
            raise ValueError("two entries share a buffer")
        self._used[index] = True
        start, size = self._places[index]
        return self._view[start : start + size]

    def _int(self, tree: Dict[str, Any], depth: int) -> int:
        text = tree["v"]
        if not isinstance(text, str) or not re.fullmatch("-?0x[1-9a-f][0-9a-f]*", text):
            raise ValueError("a large int is not written in hexadecimal")
        number = int(text, 16)
        if _format.INT_MIN <= number <= _format.INT_MAX:
            raise ValueError("a small int is written as a large one")
        return number

    def _float(self, tree: Dict[str, Any], depth: int) -> float:
        return _format.odd_float(tree["v"])

    def _complex(self, tree: Dict[str, Any], depth: int) -> complex:
        parts = self._list(tree["v"], depth, 2)
        if not all(type(part) is float for part in parts):
            raise ValueError("a complex number has a part that is no float")
        return complex(*parts)

    def _str(self, tree: Dict[str, Any], depth: int) -> str:
        return bytes(self._buffer(tree["b"])).decode("utf-8")

    def _bytes(self, tree: Dict[str, Any], depth: int) -> bytes:
        return bytes(self._buffer(tree["b"]))

    def _packed(self, tree: Dict[str, Any], depth: int) -> List[Any]:
        packed = array.array("d" if tree["$"] == "floats" else "q")
        buffer = self._buffer(tree["b"])
        if len(buffer) % packed.itemsize:
            raise ValueError("a packed list has a broken last entry")
        packed.frombytes(buffer)
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tolist()

    def _tuple(self, tree: Dict[str, Any], depth: int) -> Tuple[Any, ...]:
        return tuple(self._list(tree["v"], depth))

    def _dict(self, tree: Dict[str, Any], depth: int) -> Dict[Any, Any]:
        pairs = [self._list(pair, depth + 1, 2) for pair in _as_list(tree["v"])]
        if not all(_arrays.is_key(key) for key, _ in pairs):
            raise ValueError("a dict has a key that is no scalar")
        try:
            if _format.has_collisions([key for key, _ in pairs]):
                raise ValueError(f"a dict has more than {_format.COLLISIONS_MAX:,} keys that share a hash")
            value = dict(pairs) if tree["$"] == "dict" else collections.OrderedDict(pairs)
        except TypeError as error:
            raise ValueError(f"a dict has a key that cannot be one: {error}") from None
        if len(value) != len(pairs):
            raise ValueError("a dict has a key twice")
        return value

    def _set(self, tree: Dict[str, Any], depth: int) -> Any:
        entries = self._list(tree["v"], depth)
        try:
            if _format.has_collisions(entries):
                raise ValueError(f"a set has more than {_format.COLLISIONS_MAX:,} entries that share a hash")
            value = set(entries) if tree["$"] == "set" else frozenset(entries)
        except TypeError as error:
            raise ValueError(f"a set has an entry that cannot be one: {error}") from None
        if len(value) != len(entries):
            raise ValueError("a set has an entry twice")
        return value

    def _datetime(self, tree: Dict[str, Any], depth: int) -> datetime.datetime:
        value = datetime.datetime.fromisoformat(_canonical(tree["v"], datetime.datetime.fromisoformat))
        return value.replace(fold=1) if tree.get("fold") == 1 else value

    def _date(self, tree: Dict[str, Any], depth: int) -> datetime.date:
        return datetime.date.fromisoformat(_canonical(tree["v"], datetime.date.fromisoformat))

    def _timedelta(self, tree: Dict[str, Any], depth: int) -> datetime.timedelta:
        parts = self._list(tree["v"], depth, 3)
        if not all(type(part) is int for part in parts):
            raise ValueError("a timedelta has a part that is no int")
        try:
            return datetime.timedelta(*parts)
        except OverflowError as error:
            raise ValueError(f"a timedelta is out of range: {error}") from None

    def _ndarray(self, tree: Dict[str, Any], depth: int) -> Any:
        return _arrays.array_from(self._buffer(tree["b"]), tree["dtype"], tree["shape"])

    def _tensor(self, tree: Dict[str, Any], depth: int) -> Any:
        return _tensors.tensor_from(self._buffer(tree["b"]), tree["dtype"], tree["shape"])

    def _table(self, tree: Dict[str, Any], depth: int) -> Any:
        return _tables.table_from(self._buffer(tree["b"]), tree["$"])

    def _npscalar(self, tree: Dict[str, Any], depth: int) -> Any:
        return _arrays.scalar_from(tree["dtype"], tree["hex"])

    def _list(self, tree: Any, depth: int, length: int = -1) -> List[Any]:
        entries = _as_list(tree)
        if length >= 0 and len(entries) != length:
            raise ValueError(f"a list has {len(entries)} entries where {length} belong")
        return [self.node(entry, depth + 1) for entry in entries]


def _as_list(tree: Any) -> List[Any]:
    if not isinstance(tree, list):
        raise ValueError("an entry holds no list where one belongs")
    return tree


def _canonical(text: Any, parse: Callable[[str], Any]) -> str:
    if not isinstance(text, str) or parse(text).isoformat() != text:
        raise ValueError("a date is not in its ISO form")
    return text


_Read = Callable[[Reader, Dict[str, Any], int], Any]
_READERS: Dict[str, Tuple[Any, _Read]] = {
    "int": ({"v"}, Reader._int),
    "float": ({"v"}, Reader._float),
    "complex": ({"v"}, Reader._complex),
    "str": ({"b"}, Reader._str),
    "bytes": ({"b"}, Reader._bytes),
    "floats": ({"b"}, Reader._packed),
    "ints": ({"b"}, Reader._packed),
    "tuple": ({"v"}, Reader._tuple),
    "dict": ({"v"}, Reader._dict),
    "ordereddict": ({"v"}, Reader._dict),
    "set": ({"v"}, Reader._set),
    "frozenset": ({"v"}, Reader._set),
    "datetime": ({"v"}, Reader._datetime),
    "date": ({"v"}, Reader._date),
    "timedelta": ({"v"}, Reader._timedelta),
    "ndarray": ({"dtype", "shape", "b"}, Reader._ndarray),
    "tensor": ({"dtype", "shape", "b"}, Reader._tensor),
    _tables.DATAFRAME: ({"b"}, Reader._table),
    _tables.ARROW: ({"b"}, Reader._table),
    "npscalar": ({"dtype", "hex"}, Reader._npscalar),
}
