"""SCAFFOLD: control variates that take out what pulls each node towards its own data."""

from typing import Any, Tuple

from ..errors import InvalidArgument
from ._means import weighted_average
from ._models import Model, Values, each


def scaffold_correction(control: Model, node_control: Model) -> Model:
    """Return what a node adds to each gradient: ``control - node_control``.

    Parameters
    ----------
    control : model
        The server's control variate, a global; zeros at first.
    node_control : model
        The node's own, kept as its state; zeros at first.

    References
    ----------
    .. [1] S. P. Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated
       Learning", ICML 2020, Algorithm 1.

    Examples
    --------
    >>> scaffold_correction({"w": 0.5}, {"w": 0.25})
    {'w': 0.25}
    """
    return each(lambda ours, node: ours - node, control, node_control)


def scaffold_node_control(
    node_control: Model, control: Model, start: Model, end: Model, steps: int, rate: float
) -> Model:
    """Return a node's next control variate, by option II of the paper.

    Parameters
    ----------
    node_control, control : model
        The node's control variate and the server's.
    start, end : model
        The weights that the node was given, and what it made of them.
    steps : int
        How many gradient steps it took, at least 1.
    rate : float
        Its learning rate, above 0.

    Returns
    -------
    model
        ``node_control - control + (start - end) / (steps * rate)``.

    References
    ----------
    .. [1] S. P. Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated
       Learning", ICML 2020, Algorithm 1.

    Examples
    --------
    >>> scaffold_node_control(0.0, 0.0, 1.0, 0.5, 5, 0.1)
    1.0
    """
    if steps < 1 or not rate > 0:
        raise InvalidArgument(f"a node takes at least 1 step at a rate above 0, not {steps} at {rate}")
    scale = 1 / (steps * rate)

    def following(own: Any, ours: Any, x: Any, y: Any) -> Any:
        return own - ours + (x - y) * scale

    return each(following, node_control, control, start, end)


def scaffold_server_step(
    model: Model,
    control: Model,
    models: Values,
    control_changes: Values,
    nodes: int,
    rate: float = 1.0,
) -> Tuple[Model, Model]:
    """Return the next global model and the server's next control variate.

    Parameters
    ----------
    model, control : model
        The weights and the control variate that the nodes were given.
    models : mapping of str to model, or sequence of models
        What the nodes of this iteration made of the weights.
    control_changes : mapping of str to model, or sequence of models
        Each node's new control variate less its old one.
    nodes : int
        How many nodes there are in all, those that did not take part among them.
    rate : float
        The server's learning rate.

    Returns
    -------
    tuple of (model, model)
        ``model + rate * mean(models - model)`` and
        ``control + took part / nodes * mean(control_changes)``.

    References
    ----------
    .. [1] S. P. Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated
       Learning", ICML 2020, Algorithm 1.

    Examples
    --------
    >>> scaffold_server_step(1.0, 0.0, [0.0, 1.0], [1.0, 0.0], 4)
    (0.5, 0.25)
    """
    listed: Any = control_changes if hasattr(control_changes, "__len__") else list(control_changes)
    if nodes < len(listed):
        raise InvalidArgument(f"{len(listed)} nodes took part, and `nodes` says {nodes} in all")
    share = len(listed) / nodes
    following = each(lambda old, mean: old + rate * (mean - old), model, weighted_average(models))
    return following, each(lambda old, mean: old + share * mean, control, weighted_average(listed))
