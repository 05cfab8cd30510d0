"""An honest task: measures how long a little work takes, and how long its node takes to answer, for some seconds."""

import hashlib
import time

from manta.light.task import Task

SECONDS = 10.0
"""How long it measures; whoever packs it writes another number."""

WORK = bytes(1 << 20)
"""What is hashed once for a sample."""


class Neighbour(Task):
    """Publishes its samples in microseconds, as text."""

    def run(self):
        """Work, ask and wait by turns."""
        until = time.monotonic() + SECONDS
        work, asks = [], []
        while time.monotonic() < until:
            begun = time.perf_counter()
            hashlib.sha256(WORK).digest()
            worked = time.perf_counter()
            self.local.get_performance_metrics()
            asked = time.perf_counter()
            work.append(f"{(worked - begun) * 1e6:.0f}")
            asks.append(f"{(asked - worked) * 1e6:.0f}")
            time.sleep(0.02)
        self.world.results.add("work", ",".join(work))
        self.world.results.add("asks", ",".join(asks))


def main():
    """Run."""
    Neighbour().run()
