"""Publishes more results than an attempt may."""

from manta.light.task import Task


class Many(Task):
    """Publishes."""

    def run(self):
        """Publish one result more than an attempt may."""
        for number in range(10_001):
            self.world.results.add(f"part-{number}", None)


def main():
    """Run."""
    Many().run()
