"""Says why a value cannot be carried, and which conversion to write in its place."""

import array
import collections
import enum
import io
import os
import types
from typing import Any, Optional, Tuple

from . import _arrays
from ._tensors import conversion_for_tensor

_KNOWN = (
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), "a function", "publish what it returns"),
    ((type,), "a class", "publish the data that describes it"),
    ((types.ModuleType,), "a module", "publish the data you need from it"),
    ((types.GeneratorType, range, map, filter, zip), "an iterator", "list(value)"),
    ((bytearray, memoryview), "a mutable buffer", "bytes(value)"),
    ((array.array,), "an array.array", "numpy.asarray(value) or value.tolist()"),
    ((collections.Counter, collections.defaultdict), "a dict of a special kind", "dict(value)"),
    ((collections.deque,), "a deque", "list(value)"),
    ((os.PathLike,), "a path", "str(value)"),
    ((io.IOBase,), "an open file", "value.read()"),
    ((BaseException,), "an exception", "str(value)"),
)


def conversion_for(value: Any) -> Tuple[str, Optional[str]]:
    """Return the reason why ``value`` cannot be carried, and what to write instead.

    Parameters
    ----------
    value : object
        A value without a form in the value format.

    Returns
    -------
    tuple of str and (str or None)
        A sentence's end, and a conversion.
    """
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    special = _numpy_case(value) or conversion_for_tensor(value) or _class_case(value, kind, name)
    if special is not None:
        return special
    for types_, what, conversion in _KNOWN:
        if isinstance(value, types_):
            return f"{what} ({name}) has no meaning in another process", conversion
    for base in (str, int, float, list, tuple, dict, set, frozenset, bytes):
        if isinstance(value, base):
            return f"{name} would come back as a plain {base.__name__}", f"{base.__name__}(value)"
    if hasattr(value, "to_frame"):
        return f"{name} has no form in the value format", "value.to_frame(), or value.to_numpy()"
    if hasattr(value, "to_numpy"):
        return f"{name} has no form in the value format", "value.to_numpy()"
    if hasattr(value, "numpy"):
        return f"{name} has no form in the value format", "value.detach().cpu().numpy()"
    if hasattr(value, "state_dict"):
        return f"{name} is an object with code", "numpy arrays of its state_dict()"
    return f"{name} has no form in the value format", "a dict of its fields"


def _class_case(value: Any, kind: type, name: str) -> Optional[Tuple[str, Optional[str]]]:
    if isinstance(value, enum.Enum):
        return f"{name} is an Enum, whose class the reader may not have", "value.value"
    if hasattr(kind, "__dataclass_fields__"):  # as `dataclasses` tells, which takes long to import
        return f"{name} is a dataclass, whose class the reader may not have", "dataclasses.asdict(value)"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return f"{name} is a named tuple, whose class the reader may not have", "value._asdict()"
    return None


def _numpy_case(value: Any) -> Optional[Tuple[str, Optional[str]]]:
    numpy = _arrays.loaded_numpy()
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    if isinstance(value, numpy.ma.MaskedArray):
        return "a masked array is two arrays", '{"data": value.data, "mask": value.mask}'
    if value.dtype.hasobject:
        return f"an array of dtype {value.dtype} holds Python objects", "value.tolist(), or value.astype(float)"
    if isinstance(value, numpy.ndarray) and type(value) is not numpy.ndarray:
        return f"{type(value).__name__} would come back as a plain array", "numpy.asarray(value)"
    return f"an array of dtype {value.dtype} has no form in the value format", "value.astype(numpy.float32)"
