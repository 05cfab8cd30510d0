"""How many of its held-out digits a node reads with the global model."""

import numpy as np

from manta.light import Task


class Evaluate(Task):
    def run(self) -> None:
        model, data = self.world.globals["model"], self.local.get_dataset("digits")
        read = (data["x_test"] @ model["weights"] + model["bias"]).argmax(axis=1)
        self.world.results.add("correct", int(np.sum(read == data["y_test"])))
        self.world.results.add("tested", len(read))
