"""Averages the workers' models, each weighted by its samples, into the swarm's model (federated averaging)."""

from collections.abc import Iterable, Sequence
from typing import Any

from manta.light.task import Task


def weighted_average(models: Iterable[dict[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    """Return the mean of ``models``, each counted ``weights`` times.

    Parameters
    ----------
    models : iterable of dict of str to array
        Equal keys and shapes throughout. Each is needed only once, so a stream needs the memory of two models.
    weights : sequence of number
        One for each model, in the same order.
    """
    whole = sum(weights)
    mean: dict[str, Any] = {}
    for model, weight in zip(models, weights):
        for name, array in model.items():
            part = array * (weight / whole)
            mean[name] = mean[name] + part if name in mean else part
    return mean


class Aggregator(Task):
    """Reads what the workers published, writes the global model."""

    def run(self) -> None:
        models = self.world.results.select("model")
        samples = self.world.results.select("samples")
        self.logger.info("averaging %d models", len(models))
        self.world.globals["model"] = weighted_average(models.values(), list(samples.values()))


def main() -> None:
    Aggregator().run()
