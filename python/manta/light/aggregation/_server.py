"""What a server does with the nodes' mean beyond taking it, and the term that holds nodes near it."""

from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ._models import Model, each, parts_of

State = Dict[str, Model]
"""What an optimiser keeps between steps; ``None`` before the first. Keep it as a global or as state."""


def fedprox_gradient(model: Model, global_model: Model, mu: float) -> Model:
    """Return what FedProx adds to a node's gradient: ``mu * (model - global_model)``.

    Parameters
    ----------
    model, global_model : model
        The node's weights now, and those that it was given.
    mu : float
        How strongly the node is held near the global model; 0 is federated averaging.

    Returns
    -------
    model
        The gradient of :func:`fedprox_penalty`, of the model's form.

    References
    ----------
    .. [1] T. Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.

    Examples
    --------
    >>> fedprox_gradient({"w": 3.0}, {"w": 1.0}, mu=0.5)
    {'w': 1.0}
    """
    return each(lambda ours, theirs: mu * (ours - theirs), model, global_model)


def fedprox_penalty(model: Model, global_model: Model, mu: float) -> float:
    """Return what FedProx adds to a node's loss: ``mu / 2 * ||model - global_model||²``.

    Parameters
    ----------
    model, global_model : model
        The node's weights now, and those that it was given.
    mu : float
        As for :func:`fedprox_gradient`.

    References
    ----------
    .. [1] T. Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.

    Returns
    -------
    float
        At least 0, in the unit of the loss.

    Examples
    --------
    >>> fedprox_penalty({"w": 3.0}, {"w": 1.0}, mu=0.5)
    1.0
    """
    gaps = each(lambda ours, theirs: ours - theirs, model, global_model)
    return mu / 2 * sum(float((abs(part.flat) ** 2).sum()) for part in parts_of(gaps))


def fedavgm_step(
    model: Model,
    average: Model,
    state: Optional[Mapping[str, Model]] = None,
    *,
    rate: float = 1.0,
    momentum: float = 0.9,
) -> Tuple[Model, State]:
    """Return the next global model with server momentum, and the state for the next step.

    Parameters
    ----------
    model : model
        The global model that the nodes were given.
    average : model
        The mean of what they made of it.
    state : mapping, optional
        What the last step returned; left out at the first.
    rate : float
        The server's learning rate.
    momentum : float
        In [0, 1): how much of the last step is kept; 0 with rate 1 is federated averaging.

    Returns
    -------
    tuple of (model, dict of str to model)
        ``v = momentum * v + (model - average)``, ``model - rate * v``; and ``{"momentum": v}``.

    References
    ----------
    .. [1] T.-M. H. Hsu et al., "Measuring the Effects of Non-Identical Data Distribution for
       Federated Visual Classification", 2019.

    Examples
    --------
    >>> model, state = fedavgm_step(1.0, 0.5, momentum=0.5)
    >>> model, fedavgm_step(model, 0.5, state, momentum=0.5)[0]
    (0.5, 0.25)
    """
    gap = each(lambda ours, theirs: ours - theirs, model, average)
    before = _kept(state, "momentum", model)
    velocity = each(lambda old, new: momentum * old + new, before, gap)
    return each(lambda old, step: old - rate * step, model, velocity), {"momentum": velocity}


def fedadam_step(
    model: Model,
    average: Model,
    state: Optional[Mapping[str, Model]] = None,
    *,
    rate: float = 0.1,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    tau: float = 1e-3,
) -> Tuple[Model, State]:
    """Return the next global model by FedAdam, and the state for the next step.

    Parameters
    ----------
    model, average, state
        As for :func:`fedavgm_step`.
    rate : float
        The server's learning rate.
    beta_1, beta_2 : float
        In [0, 1): how much of the first and second moment is kept.
    tau : float
        Above 0: how far steps adapt; large is plain momentum.

    Returns
    -------
    tuple of (model, dict of str to model)
        With ``d = average - model``: ``m = beta_1 * m + (1 - beta_1) * d``,
        ``v = beta_2 * v + (1 - beta_2) * d²``, ``model + rate * m / (√v + tau)``; and m and v. The
        second moment begins at ``tau²``.

    References
    ----------
    .. [1] S. J. Reddi et al., "Adaptive Federated Optimization", ICLR 2021.

    Examples
    --------
    >>> model, state = fedadam_step(1.0, 2.0, rate=0.1)
    >>> model > 1.0, sorted(state)
    (True, ['first', 'second'])
    """
    return _adaptive(model, average, state, rate, beta_1, tau, lambda v, d: beta_2 * v + (1 - beta_2) * d * d)


def fedyogi_step(
    model: Model,
    average: Model,
    state: Optional[Mapping[str, Model]] = None,
    *,
    rate: float = 0.1,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    tau: float = 1e-3,
) -> Tuple[Model, State]:
    """Return the next global model by FedYogi, and the state for the next step.

    It is :func:`fedadam_step` with ``v = v - (1 - beta_2) * d² * sign(v - d²)``.

    Parameters
    ----------
    model, average, state, rate, beta_1, beta_2, tau
        As for :func:`fedadam_step`.

    Returns
    -------
    tuple of (model, dict of str to model)
        As for :func:`fedadam_step`.

    References
    ----------
    .. [1] S. J. Reddi et al., "Adaptive Federated Optimization", ICLR 2021.

    Examples
    --------
    >>> model, state = fedyogi_step(1.0, 2.0, rate=0.1)
    >>> model > 1.0, sorted(state)
    (True, ['first', 'second'])
    """

    def second(v: Any, d: Any) -> Any:
        square = d * d
        above = (v > square).astype(v.dtype) - (v < square).astype(v.dtype)
        return v - (1 - beta_2) * square * above

    return _adaptive(model, average, state, rate, beta_1, tau, second)


def _adaptive(
    model: Model,
    average: Model,
    state: Optional[Mapping[str, Model]],
    rate: float,
    beta_1: float,
    tau: float,
    second: Callable[[Any, Any], Any],
) -> Tuple[Model, State]:
    gap = each(lambda ours, theirs: theirs - ours, model, average)
    first_moment = each(lambda m, d: beta_1 * m + (1 - beta_1) * d, _kept(state, "first", model), gap)
    second_moment = each(second, _kept(state, "second", model, tau * tau), gap)
    following = each(lambda w, m, v: w + rate * m / (v**0.5 + tau), model, first_moment, second_moment)
    return following, {"first": first_moment, "second": second_moment}


def _kept(state: Optional[Mapping[str, Model]], name: str, model: Model, begin: float = 0.0) -> Model:
    if state is not None:
        return state[name]
    return each(lambda array: array * 0 + array.dtype.type(begin), model)
