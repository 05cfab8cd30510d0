"""Fails on one node, always."""

from manta.light.task import Task


class Lame(Task):
    """Publishes its node's name, and raises on the second node."""

    def run(self):
        if self.node == "node-2":
            raise ValueError("lame on purpose")
        self.world.results.add("part", str(self.node))


def main():
    Lame().run()
