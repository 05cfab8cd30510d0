"""torch tensors as header entries; torch is imported only where one is read."""

import ctypes
import sys
from typing import Any, List, Optional, Tuple

from ._arrays import NARROW, check_shape

_CODES = {
    "bool": "|b1",
    "uint8": "|u1",
    "int8": "|i1",
    "uint16": "<u2",
    "int16": "<i2",
    "uint32": "<u4",
    "int32": "<i4",
    "uint64": "<u8",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<c8",
    "complex128": "<c16",
    **{name: name for name in NARROW if "float" in name},
}
_NAMES = {code: name for name, code in _CODES.items()}


def is_tensor(value: Any) -> bool:
    """Return whether ``value`` is a plain torch tensor; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and type(value) is getattr(torch, "Tensor", None)


def tensor_to_json(tensor: Any) -> "Optional[Tuple[str, List[int], memoryview]]":
    """Return a tensor's dtype, shape and bytes, or ``None`` where it has no form.

    The bytes are the tensor's own where it lies in the processor's memory in one piece.
    """
    code = _CODES.get(str(tensor.dtype).rpartition(".")[2])
    if code is None or str(tensor.layout) != "torch.strided" or sys.byteorder != "little":
        return None
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    size = plain.numel() * plain.element_size()
    if size == 0:
        return code, list(plain.shape), memoryview(b"")
    memory: Any = (ctypes.c_uint8 * size).from_address(plain.data_ptr())
    memory.owner = plain  # the bytes live as long as the view
    return code, list(plain.shape), memoryview(memory).cast("B")


def tensor_from(buffer: memoryview, code: Any, shape_form: Any) -> Any:
    """Return a tensor over ``buffer``: a view, as writable as the buffer is.

    Raises
    ------
    ValueError
        If torch is not there, or the bytes do not fit dtype and shape.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError("the value holds a torch tensor, and torch is not installed here") from error
    shape = check_shape(shape_form)
    dtype = getattr(torch, _NAMES.get(code, ""), None) if isinstance(code, str) else None
    if dtype is None:
        raise ValueError(f"a tensor has the dtype {str(code)[:64]!r}, which torch {torch.__version__} lacks")
    count = 1
    for extent in shape:
        count *= extent
    if count * dtype.itemsize != len(buffer):
        raise ValueError(f"a tensor of shape {shape} and dtype {dtype} has {len(buffer)} bytes")
    try:
        flat = torch.frombuffer(buffer, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        return flat.reshape(shape)
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:
        raise ValueError(f"a tensor of shape {shape} cannot be made: {error}") from error


def conversion_for_tensor(value: Any) -> "Optional[Tuple[str, str]]":
    """Return why a kind of tensor cannot be carried, and what to write instead; ``None`` for anything else."""
    kind: Any = getattr(sys.modules.get("torch"), "Tensor", None)
    if kind is None or not isinstance(value, kind):
        return None
    if type(value) is not kind:
        return f"{type(value).__name__} would come back as a plain tensor", "value.detach()"
    if value.is_quantized:
        return "a quantized tensor has no form in the value format", "value.dequantize()"
    if str(value.layout) != "torch.strided":
        return f"a tensor of layout {value.layout} has no form in the value format", "value.to_dense()"
    return f"a tensor of {value.dtype} has no form in the value format", "value.to(torch.float32)"
