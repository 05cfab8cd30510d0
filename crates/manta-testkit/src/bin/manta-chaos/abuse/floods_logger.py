"""Logs as fast as it can."""

from manta.light.task import Task


class Flood(Task):
    """Has a logger."""

    def run(self):
        """Log."""
        while True:
            self.logger.warning("x" * 1000)


def main():
    """Run."""
    Flood().run()
