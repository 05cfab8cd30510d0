"""Combinations that a few wrong or hostile nodes cannot pull away."""

from typing import Any, Callable, List, Sequence, Tuple

from ..errors import InvalidArgument
from ._means import weighted_average
from ._models import Inputs, Model, Part, Values, blocks, check_fit, parts_of, rebuilt, require_numpy


def coordinate_median(values: Values) -> Model:
    """Return the median of each single number over all models.

    Parameters
    ----------
    values : mapping of str to model, or sequence of models
        What to combine, all of one form and of the same shapes. All are open at once, mapped and
        not copied.

    Returns
    -------
    model
        Of the form and dtypes of the values. It does not depend on their order.

    Raises
    ------
    InvalidArgument
        If there is nothing to combine, or the models do not fit together.

    Notes
    -----
    Of n nodes fewer than n/2 may be arbitrarily wrong [1]_.

    References
    ----------
    .. [1] D. Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
       Rates", ICML 2018.

    Examples
    --------
    >>> coordinate_median([1.0, 2.0, 900.0])
    2.0
    """
    numpy = require_numpy()
    return _by_coordinate(values, lambda stack: numpy.median(stack, axis=0))


def trimmed_mean(values: Values, share: float = 0.1) -> Model:
    """Return the mean of each single number over all models, without the largest and smallest.

    Parameters
    ----------
    values : mapping of str to model, or sequence of models
        What to combine, all of one form and of the same shapes. All are open at once, mapped and
        not copied.
    share : float
        In [0, 0.5): the share of the values that is left out at each end, rounded down.

    Returns
    -------
    model
        Of the form and dtypes of the values. It does not depend on their order.

    Raises
    ------
    InvalidArgument
        If ``share`` is out of range, there is nothing to combine, or the models do not fit together.

    References
    ----------
    .. [1] D. Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
       Rates", ICML 2018.

    Examples
    --------
    >>> trimmed_mean([0.0, 1.0, 2.0, 900.0], share=0.25)
    1.5
    """
    if isinstance(share, bool) or not 0 <= share < 0.5:
        raise InvalidArgument(f"the share to trim is in [0, 0.5), not {share!r}")

    def mean(stack: Any) -> Any:
        cut = int(share * len(stack))
        stack.sort(axis=0)
        return stack[cut : len(stack) - cut].mean(axis=0)

    return _by_coordinate(values, mean)


def krum(values: Values, faulty: int, chosen: int = 1) -> Model:
    """Return the model that is closest to its neighbours, or the mean of several such.

    Parameters
    ----------
    values : mapping of str to model, or sequence of models
        What to combine, all of one form and of the same shapes. All are open at once, mapped and
        not copied.
    faulty : int
        How many of them may be wrong; there must be at least ``2 * faulty + 3`` values.
    chosen : int
        How many of the best are averaged; more than one is called Multi-Krum.

    Returns
    -------
    model
        One of the values, or the mean of ``chosen`` of them. Ties go to the smaller key.

    Raises
    ------
    InvalidArgument
        If there are too few values, ``chosen`` is not in 1 to n - faulty, or the models do not fit together.

    References
    ----------
    .. [1] P. Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
       Descent", NeurIPS 2017.

    Examples
    --------
    >>> krum([1.0, 1.25, 1.5, 2.0, 900.0], faulty=1)
    1.25
    """
    numpy = require_numpy()
    inputs = Inputs(values)
    count = len(inputs)
    if isinstance(faulty, bool) or faulty < 0 or count < 2 * faulty + 3:
        raise InvalidArgument(f"krum with {faulty} faulty nodes needs at least {2 * faulty + 3} values, not {count}")
    if not 1 <= chosen <= count - faulty:
        raise InvalidArgument(f"`chosen` is in 1 to {count - faulty}, not {chosen!r}")
    models = _opened(inputs)[1]
    distances = numpy.zeros((count, count))
    for index in range(len(models[0])):
        for begin, end in blocks(models[0][index].array.size, 8 * count):
            stack = numpy.stack([numpy.asarray(parts[index].flat[begin:end], float) for parts in models])
            for row in range(count):
                distances[row] += ((stack - stack[row]) ** 2).sum(axis=1)
    numpy.fill_diagonal(distances, numpy.inf)
    scores = numpy.sort(distances, axis=1)[:, : count - faulty - 2].sum(axis=1)
    best = [inputs.keys[place] for place in numpy.argsort(scores, kind="stable")[:chosen]]
    if chosen == 1:
        return inputs.values[best[0]]
    return weighted_average({str(key): inputs.values[key] for key in sorted(best)})


def _opened(inputs: Inputs) -> Tuple[Model, List[List[Part]]]:
    """Open all models, and see that they fit together."""
    first = inputs.values[inputs.keys[0]]
    models = [parts_of(first)]
    for key in inputs.keys[1:]:
        models.append(parts_of(inputs.values[key]))
        check_fit(models[0], models[-1], inputs.who(key))
    return first, models


def _by_coordinate(values: Values, combine: Callable[[Any], Any]) -> Model:
    first, models = _opened(Inputs(values))
    return rebuilt(first, [_combined([parts[index] for parts in models], combine) for index in range(len(models[0]))])


def _combined(parts: Sequence[Part], combine: Callable[[Any], Any]) -> Any:
    numpy = require_numpy()
    dtype = parts[0].accumulator()
    out = numpy.empty(parts[0].array.size, dtype)
    for begin, end in blocks(out.size, dtype.itemsize):
        out[begin:end] = combine(numpy.stack([numpy.asarray(part.flat[begin:end], dtype) for part in parts]))
    return out
