"""Ends a swarm when its metrics are good, or after some iterations."""

from manta.light.task import Task


class Decider(Task):
    def run(self):
        errors = [value["error"] for value in self.world.results.select("metrics").values()]
        self.world.results.add("decision", max(errors))
        if self.iteration == 1:
            self.world.stop_swarm()
