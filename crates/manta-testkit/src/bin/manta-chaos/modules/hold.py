"""Runs until it is stopped."""

import time

from manta.light.task import Task


class Hold(Task):
    """Never ends by itself."""

    def run(self):
        self.logger.info("holding")
        while True:
            time.sleep(0.05)


def main():
    Hold().run()
