"""What tasks logged, and its place on the x axis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Swarm:
    """The swarm whose metrics they are.

    Parameters
    ----------
    id, name : str
        As the manager shows them.
    created_ms : int
        Wall clock, ms since 1970.
    tags : dict of str to str
        What else a tracker keeps of the run.
    """

    id: str
    name: str
    created_ms: int
    tags: dict[str, str]


@dataclass(frozen=True)
class Point:
    """What one call of ``self.metrics.log`` sent."""

    time_ms: int
    task: str
    node: str
    iteration: int
    values: dict[str, float]
    step: int | None = None


class Placed(NamedTuple):
    """One value of one series."""

    time_ms: int
    task: str
    node: str
    name: str
    value: float
    step: int


@dataclass
class Series:
    """Every series so far: a metric of a task on a node. Points without a step are counted, over all iterations."""

    points: int = 0
    _counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._counts)

    def place(self, point: Point) -> list[Placed]:
        """Return the values of a point, each with its step."""
        placed = []
        for name, value in sorted(point.values.items()):
            series = (point.task, point.node, name)
            step = self._counts[series] if point.step is None else point.step
            self._counts[series] += 1
            self.points += 1
            placed.append(Placed(point.time_ms, point.task, point.node, name, value, step))
        return placed
