"""A stateful optimiser: its momentum is kept on the node from iteration to iteration."""

from manta.light.task import Task


class StatefulOptimizer(Task):
    def run(self):
        momentum = self.local.get_state("optimizer_momentum", default={})
        before = momentum.get("steps", 0)
        self.local.set_state("optimizer_momentum", {"steps": before + 1})
        if self.iteration == 1 and self.attempt == 0:
            raise RuntimeError("what a failed attempt stored is not kept")
        self.world.results.add("steps_before", before)
        self.world.globals["parameters"] = float(before)
