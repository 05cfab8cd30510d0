"""Asserts what comes in and what goes out."""

from manta.light.task import Task


class TestableTask(Task):
    __test__ = False

    def run(self):
        assert self.validate_inputs(), "Invalid input data"
        self.logger.info("Starting computation")
        results = self.compute()
        assert self.validate_outputs(results), "Invalid output data"
        self.world.results.add("output", results)

    def validate_inputs(self):
        return self.world.globals["size"] > 0

    def compute(self):
        return [0] * self.world.globals["size"]

    def validate_outputs(self, results):
        return len(results) < 10
