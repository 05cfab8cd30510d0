"""Values as bytes, for code that keeps or sends bytes itself. Publishing needs none of this."""

from typing import Any, Dict, Mapping, Union

from ._values import decode, encode
from .errors import DataCorruptionError, InvalidArgument

__all__ = [
    "bytes_to_dict",
    "bytes_to_numpy",
    "bytes_to_torchmodel",
    "dict_to_bytes",
    "numpy_to_bytes",
    "torchmodel_to_bytes",
]

_Bytes = Union[bytes, bytearray, memoryview]


def numpy_to_bytes(value: Any) -> bytes:
    """Return an array, or any nesting of arrays, as bytes.

    Raises
    ------
    ValueNotCarried
        If some part cannot be carried.

    Parameters
    ----------
    value : object
        An array of any shape and dtype without Python objects, or any value of the format.

    Examples
    --------
    >>> import numpy
    >>> bytes_to_numpy(numpy_to_bytes({"w": numpy.ones((2, 3), "f4")}))["w"].shape
    (2, 3)
    """
    return encode(value).to_bytes()


def bytes_to_numpy(data: Union[_Bytes, Mapping[str, Any]]) -> Any:
    """Return what :func:`numpy_to_bytes` was given.

    Parameters
    ----------
    data : bytes-like, or mapping of str to bytes-like
        Of a mapping, such as what ``select`` returns, each value is decoded.

    Returns
    -------
    object
        The value with writable arrays, or a dict of such values.

    Raises
    ------
    DataCorruptionError
        If the bytes are no encoded value.

    Examples
    --------
    >>> bytes_to_numpy({"node-1": numpy_to_bytes([1, 2])})
    {'node-1': [1, 2]}
    """
    if isinstance(data, Mapping):
        return {key: bytes_to_numpy(entry) for key, entry in data.items()}
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidArgument(f"bytes are needed, not {type(data).__name__}")
    try:
        return decode(data)
    except ValueError as error:
        raise DataCorruptionError(f"the bytes are no encoded value: {error}") from error


def dict_to_bytes(value: Dict[Any, Any]) -> bytes:
    """Return a dict as bytes.

    Raises
    ------
    ValueNotCarried
        If some part cannot be carried.

    Parameters
    ----------
    value : dict
        With scalar keys, and values that the format carries.

    Examples
    --------
    >>> bytes_to_dict(dict_to_bytes({"rows": 3, 7: (1, 2)}))
    {'rows': 3, 7: (1, 2)}
    """
    if not isinstance(value, dict):
        raise InvalidArgument(f"a dict is needed, not {type(value).__name__}")
    return encode(value).to_bytes()


def bytes_to_dict(data: _Bytes) -> Dict[Any, Any]:
    """Return the dict that :func:`dict_to_bytes` was given.

    Raises
    ------
    DataCorruptionError
        If the bytes hold no encoded dict.

    Parameters
    ----------
    data : bytes-like
        One encoded dict, to the last byte.

    Examples
    --------
    >>> bytes_to_dict(dict_to_bytes({}))
    {}
    """
    value = bytes_to_numpy(data)
    if not isinstance(value, dict):
        raise DataCorruptionError("the bytes hold a value that is no dict")
    return value


def torchmodel_to_bytes(model: Any) -> bytes:
    """Return the weights of a torch module, or a state dict, as bytes.

    Parameters
    ----------
    model : torch.nn.Module or mapping of str to torch.Tensor
        Only its weights are kept, and no code.

    Raises
    ------
    ValueNotCarried
        If some part cannot be carried.

    Examples
    --------
    >>> weights = bytes_to_torchmodel(torchmodel_to_bytes({"bias": 0.5}))
    >>> weights
    {'bias': 0.5}
    """
    weights = model if isinstance(model, Mapping) else model.state_dict()
    return dict_to_bytes(dict(weights))


def bytes_to_torchmodel(data: _Bytes, model: Any = None) -> Any:
    """Return the weights that :func:`torchmodel_to_bytes` was given, or a module with them.

    Parameters
    ----------
    data : bytes-like
        The encoded weights.
    model : torch.nn.Module, optional
        Where to load them.

    Returns
    -------
    torch.nn.Module or dict of str to torch.Tensor
        ``model``; where none is given, the state dict.

    Raises
    ------
    DataCorruptionError
        If the bytes hold no weights, or weights of another model.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> layer = bytes_to_torchmodel(torchmodel_to_bytes(torch.nn.Linear(3, 2)), torch.nn.Linear(3, 2))  # doctest: +SKIP
    """
    weights = bytes_to_dict(data)
    if model is None:
        return weights
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, KeyError) as error:
        kind = type(model).__name__
        raise DataCorruptionError(f"the bytes hold other weights than {kind} has: {error}") from error
    return model
