"""Combines the nodes' summaries into those of all rows together."""

from typing import Any

from manta.light.task import Task


def merge(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of both samples together (Chan, Golub and LeVeque 1979)."""
    count = left["count"] + right["count"]
    if count == 0:
        return left
    distance = right["mean"] - left["mean"]
    return {
        "count": count,
        "mean": left["mean"] + distance * right["count"] / count,
        "squares": left["squares"] + right["squares"] + distance**2 * left["count"] * right["count"] / count,
    }


class Combine(Task):
    """Sets the globals ``count``, ``mean`` and ``variance``."""

    def run(self) -> None:
        whole: dict[str, Any] = {"count": 0, "mean": 0.0, "squares": 0.0}
        for summary in self.world.results.select("summary").values():
            whole = merge(whole, summary)
        if whole["count"] < 2:
            raise ValueError(f"a variance needs two rows at least; all nodes together have {whole['count']}")

        found = {
            "count": whole["count"],
            "mean": whole["mean"],
            "variance": whole["squares"] / (whole["count"] - 1),
        }
        self.world.globals.update(found)
        self.logger.info("%(count)d rows, mean %(mean).4f, variance %(variance).4f", found)


def main() -> None:
    Combine().run()
