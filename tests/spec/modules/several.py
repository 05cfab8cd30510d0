"""Several task classes in one module, and no main(): the author says which one runs."""

from manta.light import Task


class ModelTrainer(Task):
    def run(self):
        """Only handles model training logic."""
        self.world.results.add("ran", "trainer")


class ModelEvaluator(Task):
    def run(self):
        """Only handles model evaluation logic."""
        self.world.results.add("ran", "evaluator")
