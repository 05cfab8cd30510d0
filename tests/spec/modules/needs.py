"""Needs a package that no node has."""

import tinypkg

from manta.light.task import Task


class Needs(Task):
    def run(self):
        self.world.results.add("required", tinypkg.__version__)
