"""Measures the global model on the node's own data."""

from manta.light.task import Task


class Validator(Task):
    def run(self):
        error = abs(self.world.globals["global_model"] - self.local.get_dataset("training_data").mean())
        self.world.results.add("metrics", {"error": float(error)})
