"""Publishes more than an attempt may."""

from manta.light.task import Task


class Huge(Task):
    """Publishes."""

    def run(self):
        """Publish values of 4 MiB."""
        for number in range(100):
            self.world.results.add(f"part-{number}", bytes(4 << 20))


def main():
    """Run."""
    Huge().run()
