"""Fails, always in the same words."""

from manta.light.task import Task


class Broken(Task):
    """Publishes a value that must never count, then raises."""

    def run(self):
        self.world.results.add("part", "never accepted")
        raise ValueError("broken on purpose")


def main():
    Broken().run()
