"""Weighted means, taken block by block over inputs that stay where they are."""

from typing import Any, List, Sequence

from ._models import Inputs, Model, Part, Values, blocks, check_fit, parts_of, rebuilt, require_numpy

_TOGETHER = 16
"""Models that are open at a time."""


def weighted_average(values: Values, weights: Any = None) -> Model:
    """Return the weighted mean of models.

    At most 16 of them are open at a time, mapped and not copied, and each block of each array is
    read once; what the mean needs for itself is the memory of one model.

    Parameters
    ----------
    values : mapping of str to model, or sequence of models
        What to combine, all of one form and of the same shapes.
    weights : mapping or sequence of numbers, optional
        For each value a number of at least 0, such as how many samples it was trained on; they
        need not add up to 1. Left out: all alike.

    Returns
    -------
    model
        Of the form and dtypes of the values. Sums are kept in the values' own precision, at least
        float32; means of whole numbers are float64.

    Raises
    ------
    InvalidArgument
        If there is nothing to combine, the models do not fit together, or a weight is missing,
        negative or not finite.

    Notes
    -----
    With sample counts as weights this is the aggregation of federated averaging [1]_.

    References
    ----------
    .. [1] H. B. McMahan et al., "Communication-Efficient Learning of Deep Networks from
       Decentralized Data", AISTATS 2017.

    Examples
    --------
    >>> weighted_average({"node-1": {"bias": 1.0}, "node-2": {"bias": 3.0}})
    {'bias': 2.0}
    """
    inputs = Inputs(values)
    shares = inputs.weights(weights)
    first = inputs.values[inputs.keys[0]]
    form = parts_of(first)
    sums: List[Any] = []
    for start in range(0, len(inputs), _TOGETHER):
        group = [form] if start == 0 else []
        for key in inputs.keys[start + len(group) : start + _TOGETHER]:
            group.append(parts_of(inputs.values[key]))
            check_fit(form, group[-1], inputs.who(key))
        _add(sums, form, group, shares[start : start + _TOGETHER])
    return rebuilt(first, sums)


fedavg = weighted_average
"""Federated averaging: :func:`weighted_average` with sample counts as weights."""


def _add(sums: List[Any], form: Sequence[Part], group: Sequence[Sequence[Part]], shares: Sequence[float]) -> None:
    """Add the weighted models of one group to the sums; the first group makes them."""
    numpy = require_numpy()
    for index, part in enumerate(form):
        dtype = part.accumulator()
        made = index == len(sums)
        if made:
            sums.append(numpy.empty(part.array.size, dtype))
        total = sums[index]
        flats = [parts[index].flat for parts in group]
        factors = [dtype.type(share) for share in shares]
        scratch = numpy.empty(min(total.size, max(1, next(iter(blocks(1 << 40, dtype.itemsize)))[1])), dtype)
        for begin, end in blocks(total.size, dtype.itemsize):
            _block(total[begin:end], scratch[: end - begin], [flat[begin:end] for flat in flats], factors, made)


def _block(total: Any, scratch: Any, pieces: Sequence[Any], factors: Sequence[Any], made: bool) -> None:
    numpy = require_numpy()
    for number, (piece, factor) in enumerate(zip(pieces, factors)):
        same = piece.dtype == total.dtype
        target = total if made and number == 0 else scratch
        if same:
            numpy.multiply(piece, factor, out=target)
        else:
            target[...] = piece
            target *= factor
        if target is scratch:
            total += scratch
