"""Every node writes another value to one global."""

from manta.light.task import Task


class Quarrel(Task):
    def run(self):
        self.world.globals["last"] = str(self.node)
