"""A single-file module: all models in, one global model out."""

from manta.light.aggregation import weighted_average
from manta.light.task import Task


class Aggregator(Task):
    def run(self):
        """Aggregate models from worker nodes."""
        models = self.world.results.select("model_params")
        weights = self.world.results.select("sample_weights", default=None)
        self.world.globals["global_model"] = weighted_average(models, weights)
        self.world.results.add("aggregated", sorted(str(key) for key in models))


def main():
    Aggregator().run()
