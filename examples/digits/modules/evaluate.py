"""Counts how many of this node's held-out digits the swarm's model reads correctly."""

from typing import Any

from manta.light.task import Task


def count_correct(model: dict[str, Any], x: Any, y: Any) -> int:
    """Return for how many rows of ``x`` the model's best score is at the label in ``y``."""
    scores = x @ model["weights"] + model["bias"]
    return int((scores.argmax(axis=1) == y).sum())


class Evaluate(Task):
    """Publishes two numbers; the held-out digits themselves stay on the node."""

    def run(self) -> None:
        digits = self.local.get_dataset("digits")
        x, y = digits["x_test"], digits["y_test"]
        self.world.results.add("correct", count_correct(self.world.globals["model"], x, y))
        self.world.results.add("total", len(y))


def main() -> None:
    Evaluate().run()
