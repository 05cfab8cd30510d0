"""Adds up what the nodes counted."""

from manta.light import Task


class Report(Task):
    def run(self) -> None:
        correct, tested = self.world.results.select("correct"), self.world.results.select("tested")
        share = sum(correct.values()) / sum(tested.values())
        self.logger.info("accuracy %.3f", share)
        self.world.globals["accuracy"] = share
