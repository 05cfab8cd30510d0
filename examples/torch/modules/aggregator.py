"""Averages the nodes' networks, each weighted by its samples."""

import torch

from manta.light import Task


class Aggregator(Task):
    """Writes the global weights, and the share of held-out digits that the nodes' own networks read."""

    def run(self) -> None:
        models, samples = self.world.results.select("weights"), self.world.results.select("samples")
        whole = sum(samples.values())
        mean: dict[str, torch.Tensor] = {}
        for node, weights in models.items():
            for name, tensor in weights.items():
                part = tensor * (samples[node] / whole)
                mean[name] = mean[name] + part if name in mean else part
        self.world.globals["weights"] = mean
        counts = list(self.world.results.select("tested").values())
        self.world.globals["accuracy"] = sum(right for right, _ in counts) / sum(all_ for _, all_ in counts)
