"""Turns a value into the JSON tree of its header and the buffers beside it."""

import array
import collections
import datetime
import math
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

from .._names import Name
from . import _arrays, _format, _tables, _tensors
from ._refusals import conversion_for

_COLLISIONS = f"more than {_format.COLLISIONS_MAX:,} of its keys or entries share a hash"


class Refused(Exception):
    """Carries the reason why a value cannot be carried upwards, collecting the path on its way."""

    def __init__(self, reason: str, conversion: Optional[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.conversion = conversion
        self.path: List[str] = []


class Walk:
    """One pass over a value: makes the tree and gathers the buffers."""

    def __init__(self) -> None:
        self.buffers: List[memoryview] = []
        self._count = 0

    def node(self, value: Any, depth: int) -> Any:
        """Return the tree's entry for ``value``."""
        self._count += 1
        if self._count > _format.NODES_MAX:
            reason = f"it has more than {_format.NODES_MAX:,} entries"
            raise Refused(reason, "hold the numbers in a numpy array: numpy.asarray(values)")
        if depth > _format.DEPTH_MAX:
            reason = f"it is nested more than {_format.DEPTH_MAX} deep, or contains itself"
            raise Refused(reason, "flatten it")
        kind = type(value)
        if value is None or kind is bool:
            return value
        writer = _WRITERS.get(kind)
        if writer is not None:
            return writer(self, value, depth)
        return self._foreign(value)

    def _foreign(self, value: Any) -> Any:
        if isinstance(value, Name):
            return self._str(str(value), 0)
        if _tensors.is_tensor(value):
            tensor = _tensors.tensor_to_json(value)
            if tensor is not None:
                return {"$": "tensor", "dtype": tensor[0], "shape": tensor[1], "b": self._buffer(tensor[2])}
        table = _tables.kind_of(value)
        if table is not None:
            data, refusal = _tables.table_bytes(value, table)
            if data is None:
                raise Refused(*refusal)
            return {"$": table, "b": self._buffer(data)}
        return self._numpy(value)

    def _numpy(self, value: Any) -> Any:
        numpy = _arrays.loaded_numpy()
        if numpy is not None and isinstance(value, numpy.generic):
            form = _arrays.scalar_to_json(value)
            if form is not None:
                return {"$": "npscalar", "dtype": form[0], "hex": form[1]}
        elif numpy is not None and (type(value) is numpy.ndarray or isinstance(value, numpy.memmap)):
            dtype = _arrays.dtype_to_json(value.dtype)
            if dtype is not None:
                buffer = self._buffer(_arrays.array_bytes(value))
                return {"$": "ndarray", "dtype": dtype, "shape": list(value.shape), "b": buffer}
        raise Refused(*conversion_for(value))

    def _buffer(self, data: memoryview) -> int:
        self.buffers.append(data)
        return len(self.buffers) - 1

    def _int(self, value: int, depth: int) -> Any:
        if _format.INT_MIN <= value <= _format.INT_MAX:
            return value
        return {"$": "int", "v": hex(value)}

    def _float(self, value: float, depth: int) -> Any:
        return value if math.isfinite(value) else {"$": "float", "v": _format.odd_float_text(value)}

    def _complex(self, value: complex, depth: int) -> Any:
        return {"$": "complex", "v": [self._float(value.real, depth), self._float(value.imag, depth)]}

    def _str(self, value: str, depth: int) -> Any:
        if len(value) <= _format.INLINE_TEXT_MAX // 4 and value.isascii():
            return value
        try:
            data = value.encode("utf-8")
        except UnicodeEncodeError:
            reason = "a str with an unpaired surrogate is no valid text"
            raise Refused(reason, 'value.encode("utf-8", "surrogatepass")') from None
        if len(data) <= _format.INLINE_TEXT_MAX:
            return value
        return {"$": "str", "b": self._buffer(memoryview(data))}

    def _bytes(self, value: bytes, depth: int) -> Any:
        return {"$": "bytes", "b": self._buffer(memoryview(value))}

    def _list(self, value: List[Any], depth: int) -> Any:
        packed = self._packed(value) if len(value) >= _format.PACKED_LIST_MIN else None
        return self._entries(value, depth) if packed is None else packed

    def _packed(self, value: List[Any]) -> Optional[Dict[str, Any]]:
        kinds = set(map(type, value))
        if kinds == {float}:
            return {"$": "floats", "b": self._buffer(_little_endian("d", value))}
        if kinds == {int} and min(value) >= _format.INT_MIN and max(value) <= _format.INT_MAX:
            return {"$": "ints", "b": self._buffer(_little_endian("q", value))}
        return None

    def _entries(self, value: Sequence[Any], depth: int) -> List[Any]:
        entries = []
        for index, entry in enumerate(value):
            try:
                entries.append(self.node(entry, depth + 1))
            except Refused as refused:
                refused.path.append(f"[{index}]")
                raise
        return entries

    def _tuple(self, value: Tuple[Any, ...], depth: int) -> Any:
        return {"$": "tuple", "v": self._entries(value, depth)}

    def _dict(self, value: Dict[Any, Any], depth: int) -> Any:
        if not all(type(key) is str for key in value):
            value = {_plain(key): entry for key, entry in value.items()}
        if "$" in value or not all(type(key) is str for key in value):
            return {"$": "dict", "v": self._pairs(value, depth)}
        return {self._key(key): self._entry(key, entry, depth) for key, entry in value.items()}

    def _key(self, key: str) -> str:
        if not isinstance(self._str(key, 0), str):
            raise Refused(f"a dict's key has {len(key):,} characters", "use shorter keys")
        return key

    def _ordered_dict(self, value: Dict[Any, Any], depth: int) -> Any:
        return {"$": "ordereddict", "v": self._pairs({_plain(key): entry for key, entry in value.items()}, depth)}

    def _pairs(self, value: Dict[Any, Any], depth: int) -> List[Any]:
        if _format.has_collisions(value):
            raise Refused(_COLLISIONS, "list(value.items())")
        pairs = []
        for key, entry in value.items():
            if not _arrays.is_key(key):
                reason = f"a dict's key of type {type(key).__name__} is no scalar"
                raise Refused(reason, "use str, int, float, bool, None, bytes or dates as keys")
            pairs.append([self.node(key, depth + 2), self._entry(key, entry, depth + 1)])
        return pairs

    def _entry(self, key: Any, entry: Any, depth: int) -> Any:
        try:
            return self.node(entry, depth + 1)
        except Refused as refused:
            refused.path.append(f'["{key}"]' if isinstance(key, str) else f"[{key!r}]")
            raise

    def _set(self, value: Any, depth: int) -> Any:
        if _format.has_collisions(value):
            raise Refused(_COLLISIONS, "list(value)")
        tag = "set" if type(value) is set else "frozenset"
        ordered = sorted(value, key=lambda entry: (type(entry).__name__, repr(entry)))
        return {"$": tag, "v": self._entries(ordered, depth)}

    def _datetime(self, value: datetime.datetime, depth: int) -> Any:
        zone = value.tzinfo
        if zone is not None and type(zone) is not datetime.timezone:
            reason = f"a datetime in the zone {zone} depends on a zone table"
            raise Refused(reason, "value.astimezone(datetime.timezone.utc)")
        tree = {"$": "datetime", "v": value.isoformat()}
        return {**tree, "fold": 1} if value.fold else tree

    def _date(self, value: datetime.date, depth: int) -> Any:
        return {"$": "date", "v": value.isoformat()}

    def _timedelta(self, value: datetime.timedelta, depth: int) -> Any:
        return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}


def _plain(key: Any) -> Any:
    return str(key) if isinstance(key, Name) else key


def _little_endian(code: str, values: List[Any]) -> memoryview:
    packed = array.array(code, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return memoryview(packed).cast("B")


_Writer = Callable[[Walk, Any, int], Any]
_WRITERS: Dict[Type[Any], _Writer] = {
    int: Walk._int,
    float: Walk._float,
    complex: Walk._complex,
    str: Walk._str,
    bytes: Walk._bytes,
    list: Walk._list,
    tuple: Walk._tuple,
    dict: Walk._dict,
    collections.OrderedDict: Walk._ordered_dict,
    set: Walk._set,
    frozenset: Walk._set,
    datetime.datetime: Walk._datetime,
    datetime.date: Walk._date,
    datetime.timedelta: Walk._timedelta,
}
