"""k-means without moving a sample: nodes add up their samples by the nearest centre, the server moves the centres."""

import numpy as np

from manta.light import Task


class Assign(Task):
    """Adds up this node's samples by the centre that is nearest to each."""

    def run(self) -> None:
        centres, x = self.world.globals["centres"], self.local.get_dataset("digits")["x_train"]
        distances = ((x[:, None, :] - centres) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1)
        self.world.results.add("sums", np.stack([x[nearest == k].sum(axis=0) for k in range(len(centres))]))
        self.world.results.add("counts", np.bincount(nearest, minlength=len(centres)))
        self.world.results.add("cost", float(distances.min(axis=1).sum()))


class Move(Task):
    """Moves each centre to the mean of its samples; stops where that changes little."""

    def run(self) -> None:
        sums = sum(self.world.results.select("sums").values())
        counts = sum(self.world.results.select("counts").values())
        cost = sum(self.world.results.select("cost").values())
        centres, before = self.world.globals["centres"], self.world.globals.get("cost", float("inf"))
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        self.world.globals.update(centres=moved, cost=cost)
        self.world.results.add("cost_of_iteration", cost)
        if before - cost < 0.001 * cost:
            self.world.stop_swarm()
