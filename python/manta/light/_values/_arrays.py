"""numpy arrays, scalars and dtypes as header entries; numpy is imported only where one occurs."""

import datetime
import re
import sys
from typing import TYPE_CHECKING, Any, List, Optional

if TYPE_CHECKING:
    import numpy as np

_SIMPLE = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f(?:2|4|8|12|16)|[<>]c(?:8|16|24|32)"
    r"|\|[SV][1-9][0-9]{0,9}|[<>]U[1-9][0-9]{0,8}"
    r"|[<>][mM]8(?:\[(?:[1-9][0-9]{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
NARROW = (
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
    "int2",
    "int4",
    "uint2",
    "uint4",
)
"""Formats of machine learning that numpy has from ml_dtypes, by their names there."""

_DIMENSIONS_MAX = 64
_KEYS = (type(None), bool, int, float, complex, str, bytes, datetime.datetime, datetime.date, datetime.timedelta)
_FIELDS_MAX = 1000


def loaded_numpy() -> Any:
    """Return numpy if this process has imported it, else ``None``: then no value is an array."""
    return sys.modules.get("numpy")


def require_numpy() -> Any:
    """Import numpy, or say what the value needs."""
    try:
        import numpy
    except ImportError as error:
        raise ValueError("the value holds a numpy array, and numpy is not installed here") from error
    return numpy


def dtype_to_json(dtype: "np.dtype[Any]") -> Optional[Any]:
    """Return a dtype's header form, or ``None`` where it has none that gives the same dtype back."""
    numpy = require_numpy()
    if dtype.hasobject:
        return None
    if is_narrow(dtype):
        return dtype.name if sys.byteorder == "little" else None
    form = _dtype_form(dtype)
    if form is None:
        return None
    try:
        same = json_to_dtype(form) == dtype
    except ValueError:
        return None
    return form if same and numpy.dtype(dtype).itemsize > 0 else None


def is_narrow(dtype: "np.dtype[Any]") -> bool:
    """Return whether a dtype is one of :data:`NARROW`."""
    return dtype.name in NARROW and dtype.type.__module__.startswith("ml_dtypes")


def _narrow_dtype(name: str) -> "np.dtype[Any]":
    try:
        import ml_dtypes
    except ImportError as error:
        raise ValueError(f"the value holds {name} numbers, and ml_dtypes is not installed here") from error
    kind = getattr(ml_dtypes, name, None)
    if kind is None:
        raise ValueError(f"the value holds {name} numbers, which ml_dtypes {ml_dtypes.__version__} lacks")
    return require_numpy().dtype(kind)  # type: ignore[no-any-return]


def _dtype_form(dtype: "np.dtype[Any]") -> Optional[Any]:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        inner = _dtype_form(base)
        return None if inner is None else {"base": inner, "shape": list(shape)}
    if dtype.names is None:
        return dtype.str if _SIMPLE.fullmatch(dtype.str) else None
    fields: Any = dtype.fields or {}
    formats = [_dtype_form(fields[name][0]) for name in dtype.names]
    if any(form is None for form in formats):
        return None
    return {
        "names": list(dtype.names),
        "formats": formats,
        "offsets": [fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
    }


def json_to_dtype(form: Any, depth: int = 0) -> "np.dtype[Any]":
    """Return the dtype of a header form.

    Raises
    ------
    ValueError
        If the form is not one that :func:`dtype_to_json` writes.
    """
    numpy = require_numpy()
    if depth > 8:
        raise ValueError("a dtype is nested more than 8 deep")
    try:
        if isinstance(form, str):
            # A field of such numbers is not what any writer writes.
            if form in NARROW and depth == 0:
                return _narrow_dtype(form)
            if not _SIMPLE.fullmatch(form):
                raise ValueError(f"unknown dtype {form[:64]!r}")
            return numpy.dtype(form)  # type: ignore[no-any-return]
        if isinstance(form, dict) and form.keys() == {"base", "shape"}:
            base = json_to_dtype(form["base"], depth + 1)
            return numpy.dtype((base, check_shape(form["shape"])))  # type: ignore[no-any-return]
        return _struct_dtype(numpy, form, depth)  # type: ignore[no-any-return]
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"a dtype cannot be read: {error}") from error


def _struct_dtype(numpy: Any, form: Any, depth: int) -> Any:
    keys = {"names", "formats", "offsets", "itemsize"}
    if not isinstance(form, dict) or form.keys() != keys:
        raise ValueError("a dtype has neither a known name nor fields")
    names, formats, offsets = form["names"], form["formats"], form["offsets"]
    lists = all(isinstance(entry, list) for entry in (names, formats, offsets))
    if not lists or not len(names) == len(formats) == len(offsets) or not 1 <= len(names) <= _FIELDS_MAX:
        raise ValueError("the fields of a dtype do not fit together")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a field of a dtype has a name that is no string")
    if not all(is_count(number) for number in [*offsets, form["itemsize"]]):
        raise ValueError("a field of a dtype has an offset that is no count")
    return numpy.dtype(
        {
            "names": names,
            "formats": [json_to_dtype(entry, depth + 1) for entry in formats],
            "offsets": offsets,
            "itemsize": form["itemsize"],
        }
    )


def is_key(value: Any) -> bool:
    """Return whether ``value`` may be the key of a dict: a scalar, of Python or of numpy."""
    numpy = loaded_numpy()
    return type(value) in _KEYS or (numpy is not None and isinstance(value, numpy.generic))


def is_count(value: Any) -> bool:
    """Return whether ``value`` is a non-negative int (a bool is none)."""
    return type(value) is int and value >= 0


def check_shape(shape: Any) -> "tuple[int, ...]":
    """Return a shape as a tuple.

    Raises
    ------
    ValueError
        If it is not a list of at most 64 counts.
    """
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS_MAX or not all(map(is_count, shape)):
        raise ValueError("an array's shape is not a list of at most 64 counts")
    return tuple(shape)


def array_bytes(array: "np.ndarray[Any, Any]") -> memoryview:
    """Return an array's bytes in C order, without a copy where it is contiguous already."""
    numpy = require_numpy()
    if array.size == 0:
        return memoryview(b"")
    flat = numpy.asarray(array, order="C").view(numpy.ndarray).reshape(-1)
    return memoryview(flat.view(numpy.uint8))


def array_from(buffer: memoryview, dtype_form: Any, shape_form: Any) -> Any:
    """Return an array over ``buffer``: a view, as writable as the buffer is.

    Raises
    ------
    ValueError
        If the bytes do not fit dtype and shape.
    """
    numpy = require_numpy()
    dtype, shape = json_to_dtype(dtype_form), check_shape(shape_form)
    if dtype.itemsize == 0:
        raise ValueError("an array's items have no bytes")
    count = 1
    for extent in shape:
        count *= extent
    if count * dtype.itemsize != len(buffer):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has {len(buffer)} bytes")
    try:
        return numpy.ndarray(shape, dtype, buffer) if count else numpy.empty(shape, dtype)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"an array of shape {shape} cannot be made: {error}") from error


def scalar_to_json(scalar: "np.generic") -> Optional[List[Any]]:
    """Return [dtype, hex bytes] of a numpy scalar, or ``None`` where its dtype has no form."""
    numpy = require_numpy()
    if isinstance(scalar, numpy.str_):
        return ["<U", scalar.encode("utf-32-le").hex()]
    if isinstance(scalar, numpy.bytes_):
        return ["|S", scalar[:].hex()]
    form = dtype_to_json(scalar.dtype)
    return None if form is None else [form, scalar.tobytes().hex()]


def scalar_from(dtype_form: Any, text: Any) -> Any:
    """Return the numpy scalar of a dtype and hexadecimal bytes.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    numpy = require_numpy()
    if not isinstance(text, str):
        raise ValueError("a numpy scalar has no bytes")
    raw = bytes.fromhex(text)
    if dtype_form == "<U":
        return numpy.str_(raw.decode("utf-32-le"))
    if dtype_form == "|S":
        return numpy.bytes_(raw)
    dtype = json_to_dtype(dtype_form)
    if dtype.itemsize != len(raw) or not raw:
        raise ValueError(f"a numpy scalar of dtype {dtype} has {len(raw)} bytes")
    return numpy.frombuffer(bytearray(raw), dtype)[0]
