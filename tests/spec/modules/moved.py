"""Keeps something on its node, and asks that another node run it next."""

from manta.light.task import Task


class Moved(Task):
    def run(self):
        self.world.results.add("before", self.local.get_state("kept", default="nothing"))
        self.local.set_state("kept", str(self.node))
        if self.iteration == 0:
            other = "node-1" if self.node == "node-2" else "node-2"
            self.world.schedule_next_iter([other], "moved")
