"""Sums up one column of this node's table: its count, mean, and squared distance from the mean."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from manta.light.task import Task


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Return the count, the mean and the sum of squared distances from it, in one pass (Welford 1962)."""
    count, mean, squares = 0, 0.0, 0.0
    for value in values:
        count += 1
        step = value - mean
        mean += step / count
        squares += step * (value - mean)
    return {"count": count, "mean": mean, "squares": squares}


class Measure(Task):
    """Publishes three numbers, however many rows there are."""

    def run(self) -> None:
        column = self.world.globals["column"]
        with io.TextIOWrapper(self.local.get_binary_data("heights"), encoding="utf-8", newline="") as file:
            values = (float(row[column]) for row in csv.DictReader(file))
            self.world.results.add("summary", summary(values))


def main() -> None:
    Measure().run()
