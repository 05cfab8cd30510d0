"""Version 1.1 of a worker, in a file whose name is no Python name."""

from manta.light.task import Task


class Worker(Task):
    def run(self):
        self.world.results.add("version", "1.1.0")


def main():
    Worker().run()
