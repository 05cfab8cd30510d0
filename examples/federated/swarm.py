"""Federated algorithms over one library of modules: each swarm below says only what is its own.

python ../digits/prepare.py --out shards
manta run swarm.py:FedProx --nodes 5 --data 'digits=shards/{node}.npz'
"""

from typing import Any

import numpy

from manta.apis import Module, Swarm, Task, Vertex

PIXELS, CLASSES = 64, 10
NUMPY: dict[str, Any] = {"image": "numpy"}

MODULES = {
    **{
        name: Module("modules/worker", entry=name, name=name, datasets=["digits"], **NUMPY)
        for name in ("Worker", "FedProxWorker", "ScaffoldWorker", "AdaptiveWorker", "FoldWorker")
    },
    **{
        name: Module("modules/server.py", entry=name, name=name, **NUMPY)
        for name in ("Average", "Momentum", "Regions", "Scaffold")
    },
    "Evaluate": Module("modules/evaluate.py", datasets=["digits"], **NUMPY),
    "Report": Module("modules/report.py", **NUMPY),
    "Assign": Module("modules/clusters.py", entry="Assign", name="assign", datasets=["digits"], **NUMPY),
    "Move": Module("modules/clusters.py", entry="Move", name="move", **NUMPY),
}


def nothing_learned() -> dict[str, Any]:
    """Return the model that knows nothing."""
    return {"weights": numpy.zeros((PIXELS, CLASSES)), "bias": numpy.zeros(CLASSES)}


class _Learning(Swarm):
    """Workers, server, test and report: what all but k-means share."""

    worker, server = "Worker", "Average"

    def __init__(self, max_iteration: int = 4) -> None:
        super().__init__(max_iteration=max_iteration)
        self.set_global("model", nothing_learned())
        self.set_global("seed", 1)  # orders the samples; the same seed gives the same model
        self.set_global("rate", 0.5)
        self.set_global("epochs", 3)
        self.workers = Task(MODULES[self.worker])
        self.combine = Task(MODULES[self.server], method="any", maximum=1)
        self.evaluate = Task(MODULES["Evaluate"])
        self.report = Task(MODULES["Report"], method="any", maximum=1)

    def execute(self) -> Vertex:
        return self.report(self.evaluate(self.combine(self.workers())))


class FedAvg(_Learning):
    """McMahan et al. 2017."""


class FedProx(_Learning):
    """Li et al. 2020."""

    worker = "FedProxWorker"

    def __init__(self) -> None:
        super().__init__()
        self.set_global("mu", 0.01)


class Scaffold(_Learning):
    """Karimireddy et al. 2020."""

    worker, server = "ScaffoldWorker", "Scaffold"

    def __init__(self) -> None:
        super().__init__()
        self.set_global("control", nothing_learned())
        self.set_global("rate", 0.2)


class Momentum(_Learning):
    """A server that keeps the direction of its steps (Hsu et al. 2019)."""

    server = "Momentum"


class Hierarchical(_Learning):
    """Means of regions, then their mean: nodes have the label ``region``."""

    server = "Regions"


class Adaptive(_Learning):
    """Each node trains as much as it and its connection bear."""

    worker = "AdaptiveWorker"


class CrossValidation(_Learning):
    """Trains on all nodes but one, and tests on that one alone: ``--set held_out=node-3``."""

    worker = "FoldWorker"

    def __init__(self, held_out: str = "node-1") -> None:
        super().__init__()
        self.set_global("held_out", held_out)
        self.evaluate = Task(MODULES["Evaluate"], specified_ids=[held_out])


class KMeans(Swarm):
    """Ten clusters of digits; no digit leaves its node."""

    def __init__(self) -> None:
        super().__init__(max_iteration=20)
        self.set_global("centres", numpy.random.default_rng(1).random((CLASSES, PIXELS)))
        self.assign = Task(MODULES["Assign"])
        self.move = Task(MODULES["Move"], method="any", maximum=1)

    def execute(self) -> Vertex:
        return self.move(self.assign())
