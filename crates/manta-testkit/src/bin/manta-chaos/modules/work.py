"""Publishes what it saw: swarm, iteration, node, the total of the iterations before, how often it was accepted here."""

from manta.light.task import Task


class Work(Task):
    """Every word of its result follows from its swarm, iteration and node, so that a checker knows what is right."""

    def run(self):
        number = int(self.node.rsplit("-", 1)[1])
        total = self.world.globals.get("total", 0)
        accepted = self.local.get_state("accepted", default=0)
        self.local.set_state("accepted", accepted + 1)
        self.world.results.add("part", f"{self.swarm_id}:{self.iteration}:{number}:{total}:{accepted}")


def main():
    Work().run()
