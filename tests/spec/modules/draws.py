"""Draws random numbers from every source that is seeded."""

import random

import numpy

from manta.light.task import Task


class Draws(Task):
    def run(self):
        self.world.results.add("drawn", [random.random(), float(numpy.random.random()), self.seed])
        if self.iteration == 0:
            self.world.schedule_next_iter([str(self.node)], "draws")
