"""Adds up the nodes' counts and decides whether the swarm has learned enough."""

from manta.light.task import Task


class Scheduler(Task):
    """Logs the held-out accuracy of the whole swarm and stops it at the target."""

    def run(self) -> None:
        correct = sum(self.world.results.select("correct").values())
        total = sum(self.world.results.select("total").values())
        accuracy = correct / total
        target = self.world.globals["target"]

        self.metrics.log({"accuracy": accuracy}, step=self.iteration)
        self.logger.info("%d of %d held-out digits are right: %.4f", correct, total, accuracy)
        self.world.globals["accuracy"] = accuracy
        if accuracy >= target:
            self.logger.info("%.4f reaches the target of %.4f", accuracy, target)
            self.world.stop_swarm()


def main() -> None:
    Scheduler().run()
