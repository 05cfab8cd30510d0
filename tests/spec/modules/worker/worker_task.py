"""Local training: from the global model and the node's own data to the node's model."""

from manta.light.task import Task

from .model import Line
from .utils import rows_of


class Worker(Task):
    def run(self):
        model = Line(self.world.globals.get("global_model", 0.0))
        data = self.local.get_dataset("training_data")
        model.step_towards(data.mean())
        self.logger.info("trained on %d rows", rows_of(data))
        self.world.results.add("model_params", model.weight)
        self.world.results.add("sample_weights", rows_of(data))
