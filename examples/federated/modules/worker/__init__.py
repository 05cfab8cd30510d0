"""What a node does in each of the algorithms: a class for each, over one model and the node's own digits.

The author of a swarm says which class runs: ``Module("modules/worker", entry="FedProxWorker")``.
"""

from __future__ import annotations

from typing import Any

from manta.light import Task
from manta.light.aggregation import fedprox_gradient, scaffold_correction, scaffold_node_control

from .softmax import Correction, Model, accuracy, descend, shuffle_rng


class Worker(Task):
    """Trains the global model on this node's digits, and publishes what it made of it."""

    def run(self) -> None:
        model, data = self.world.globals["model"], self.local.get_dataset("digits")
        trained = self.train(model, data["x_train"], data["y_train"])
        self.world.results.add("model", trained)
        self.world.results.add("samples", len(data["y_train"]))
        self.metrics.log({"accuracy": accuracy(trained, data["x_test"], data["y_test"])}, step=self.iteration)

    def train(self, model: Model, x: Any, y: Any, correction: Correction | None = None) -> Model:
        """Return the model after the epochs and the rate that the swarm's globals say."""
        rng = shuffle_rng(self.world.globals["seed"], self.iteration, self.node)
        return descend(model, x, y, self.epochs(), self.world.globals["rate"], rng, correction)

    def epochs(self) -> int:
        return int(self.world.globals["epochs"])


class FedProxWorker(Worker):
    """Stays near the global model: FedProx."""

    def train(self, model: Model, x: Any, y: Any, correction: Correction | None = None) -> Model:
        mu = self.world.globals["mu"]
        return super().train(model, x, y, lambda now: fedprox_gradient(now, model, mu))


class ScaffoldWorker(Worker):
    """Takes out of each step what pulls this node towards its own digits: SCAFFOLD."""

    def train(self, model: Model, x: Any, y: Any, correction: Correction | None = None) -> Model:
        control = self.world.globals["control"]
        own = self.local.get_state("control", default={name: 0 * array for name, array in model.items()})
        shift = scaffold_correction(control, own)
        trained = super().train(model, x, y, lambda now: shift)
        steps = self.epochs() * -(-len(y) // 32)
        fresh = scaffold_node_control(own, control, model, trained, steps, self.world.globals["rate"])
        self.local.set_state("control", fresh)
        self.world.results.add("control_change", {name: fresh[name] - own[name] for name in fresh})
        return trained


class AdaptiveWorker(Worker):
    """Does more at home where the connection is poor, and less where the node is busy."""

    def epochs(self) -> int:
        epochs = super().epochs()
        if self.local.get_network_quality() < 0.5:
            epochs *= 3
        elif self.local.get_performance_metrics()["cpu_usage"] > 0.8:
            epochs = max(1, epochs // 2)
        self.logger.info("training %d epochs", epochs)
        return epochs


class FoldWorker(Worker):
    """Sits out where its node holds the fold that is tested; else trains."""

    def run(self) -> None:
        if str(self.node) != self.world.globals["held_out"]:
            super().run()
