"""Combines what nodes published: means, robust combinations, and the steps of federated optimisers.

A *model* is an array, a number, or any nesting of dicts, lists and tuples of them; what is combined
must have the same form everywhere. *Values* are a mapping of node to model, such as
``world.results.select("model")`` returns, or a sequence of models. Mappings are gone through in the
order of their keys, so that the same models give the same bits, in whatever order they arrived.

numpy is imported where something is combined, not before.

Examples
--------
>>> weighted_average([1.0, 4.0], weights=[2, 1])
2.0
>>> coordinate_median({"node-1": 1.0, "node-2": 900.0, "node-3": 2.0})
2.0
"""

from ._means import fedavg, weighted_average
from ._robust import coordinate_median, krum, trimmed_mean
from ._scaffold import scaffold_correction, scaffold_node_control, scaffold_server_step
from ._server import fedadam_step, fedavgm_step, fedprox_gradient, fedprox_penalty, fedyogi_step

__all__ = [
    "coordinate_median",
    "fedadam_step",
    "fedavg",
    "fedavgm_step",
    "fedprox_gradient",
    "fedprox_penalty",
    "fedyogi_step",
    "krum",
    "scaffold_correction",
    "scaffold_node_control",
    "scaffold_server_step",
    "trimmed_mean",
    "weighted_average",
]
