"""Takes models apart into arrays, checks that they fit together, and builds them up again."""

import math
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple, Union

from ..errors import InvalidArgument

Model = Any
"""An array, a number, or a nesting of dicts, lists and tuples of them."""

Values = Union[Mapping[str, Model], Sequence[Model], Iterable[Model]]
"""A mapping of node to model, or models in a row."""

BLOCK_BYTES = 256 * 1024
"""Of each array that is worked on at a time, so that what is summed stays in the processor's cache."""


def require_numpy() -> Any:
    """Import numpy.

    Raises
    ------
    ImportError
        If the image has none; says which image has.
    """
    try:
        import numpy
    except ImportError as error:
        raise ImportError('manta.light.aggregation needs numpy: Module(..., image="manta_light:numpy")') from error
    return numpy


class Part:
    """One array of a model: where it stands, and its numbers."""

    def __init__(self, path: str, value: Any) -> None:
        numpy = require_numpy()
        self.path = path
        self._is_number = isinstance(value, (int, float, complex)) and not isinstance(value, numpy.generic)
        self._is_scalar = isinstance(value, numpy.generic)
        array = numpy.asarray(value)
        if array.dtype.kind not in "iufc" and not _is_narrow_float(array.dtype):
            raise InvalidArgument(f"{path or 'the model'} holds {array.dtype}, and only numbers can be combined")
        self.array = array

    @property
    def flat(self) -> Any:
        """The numbers in a row; a view where they lie in one."""
        return self.array.reshape(-1)

    def accumulator(self) -> Any:
        """Return the dtype in which sums of these numbers are kept: never narrower than float32."""
        numpy = require_numpy()
        dtype = self.array.dtype
        if dtype.kind in "iu":
            return numpy.dtype(float)
        return numpy.dtype(numpy.float32) if dtype.itemsize < 4 else dtype.newbyteorder("=")

    def result(self, flat: Any) -> Any:
        """Return combined numbers in this part's form; whole numbers become float64."""
        dtype = self.array.dtype
        wanted = flat.dtype if dtype.kind in "iu" else dtype.newbyteorder("=")
        shaped = flat.astype(wanted, copy=False).reshape(self.array.shape)
        if self._is_number:
            return shaped.item()
        return shaped[()] if self._is_scalar else shaped


def _is_narrow_float(dtype: Any) -> bool:
    """Whether it is one of the formats of machine learning that numpy itself lacks, such as bfloat16."""
    return dtype.kind == "V" and dtype.names is None and "float" in dtype.name


def parts_of(model: Model, path: str = "") -> List[Part]:
    """Return the arrays of a model in their order."""
    if isinstance(model, Mapping):
        return [part for key in model for part in parts_of(model[key], f"{path}[{key!r}]")]
    if isinstance(model, (list, tuple)):
        return [part for index, entry in enumerate(model) for part in parts_of(entry, f"{path}[{index}]")]
    return [Part(path, model)]


def check_fit(first: Sequence[Part], other: Sequence[Part], who: str) -> None:
    """Refuse a model whose arrays are others than the first one's, or of other shapes."""
    ours, theirs = [part.path for part in first], [part.path for part in other]
    if ours != theirs:
        odd = next(iter(sorted(set(ours) ^ set(theirs))), "its order")
        raise InvalidArgument(f"the model of {who} has another form than the first one: {odd} differs")
    for part, same in zip(first, other):
        if part.array.shape != same.array.shape:
            where = f"{same.path} of " if same.path else ""
            message = f"{where}the model of {who} has shape {same.array.shape}, the first one {part.array.shape}"
            raise InvalidArgument(message)


def rebuilt(model: Model, flats: Iterable[Any]) -> Model:
    """Return a model of the form of ``model`` with other numbers, in the order of :func:`parts_of`."""
    rest = iter(flats)

    def build(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: build(value[key]) for key in value}
        if isinstance(value, tuple):
            return tuple(build(entry) for entry in value)
        if isinstance(value, list):
            return [build(entry) for entry in value]
        return Part("", value).result(next(rest))

    return build(model)


def each(calculate: Callable[..., Any], *models: Model) -> Model:
    """Return the model of ``calculate(array, array, …)`` over the arrays of models of one form."""
    numpy = require_numpy()
    all_parts = [parts_of(model) for model in models]
    for number, parts in enumerate(all_parts[1:], 2):
        check_fit(all_parts[0], parts, f"argument {number}")
    kinds = [part.accumulator() for part in all_parts[0]]
    rows = ([numpy.asarray(part.flat, kind) for part in parts] for kind, parts in zip(kinds, zip(*all_parts)))
    return rebuilt(models[0], (calculate(*row) for row in rows))


class Inputs:
    """The models to combine: how many, who published them, and each when it is asked for."""

    def __init__(self, values: Values) -> None:
        self.values: Any = values if isinstance(values, (Mapping, list, tuple)) else list(values)
        self.is_mapping = isinstance(values, Mapping)
        self.keys: List[Any] = sorted(self.values, key=str) if self.is_mapping else list(range(len(self.values)))
        if not self.keys:
            raise InvalidArgument("there is nothing to combine: no values")

    def __len__(self) -> int:
        return len(self.keys)

    def who(self, key: Any) -> str:
        """Return how to call the publisher of a model in a message."""
        return f'"{key}"' if self.is_mapping else f"entry {key}"

    def weights(self, given: Any) -> List[float]:
        """Return a weight for each model, in the order of the keys; their sum is 1.

        Raises
        ------
        InvalidArgument
            If they are not one finite, non-negative number a model, or all 0.
        """
        listed = self._listed(given)
        for key, weight in zip(self.keys, listed):
            if not math.isfinite(weight) or weight < 0:
                raise InvalidArgument(f"the weight of {self.who(key)} is {weight}, not a number of at least 0")
        total = math.fsum(listed)
        if total <= 0:
            raise InvalidArgument("all weights are 0")
        return [weight / total for weight in listed]

    def _listed(self, given: Any) -> List[float]:
        if given is None:
            return [1.0] * len(self)
        if isinstance(given, Mapping):
            lacking = [key for key in self.keys if key not in given]
            if lacking or not self.is_mapping:
                told = f"there is no weight for {self.who(lacking[0])}" if lacking else "weights name nodes"
                raise InvalidArgument(f"{told}: give a weight for each value")
            return [float(given[key]) for key in self.keys]
        listed = [float(weight) for weight in given]
        if len(listed) != len(self):
            raise InvalidArgument(f"there are {len(listed)} weights for {len(self)} values")
        if not self.is_mapping:
            return listed
        by_key: Dict[Any, float] = dict(zip(self.values, listed))
        return [by_key[key] for key in self.keys]


def blocks(size: int, itemsize: int) -> Iterable[Tuple[int, int]]:
    """Yield (from, to) of the pieces of an array of ``size`` items."""
    step = max(1, BLOCK_BYTES // itemsize)
    return ((start, min(start + step, size)) for start in range(0, size, step))
