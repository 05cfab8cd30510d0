"""Publishes something for nobody: no task follows it."""

from manta.light.task import Task


class Beside(Task):
    def run(self):
        self.world.results.add("beside", 1)
