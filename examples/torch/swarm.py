"""Five nodes train a small network of PyTorch together, each on the digits that it has.

    python ../digits/prepare.py --out shards
    manta run swarm.py --nodes 5 --data 'digits=shards/{node}.npz'

Nodes need an image with torch: `manta_light:pytorch`.
"""

from manta.apis import Module, Swarm, Task, Vertex


class Network(Swarm):
    """Federated averaging of a network with one hidden layer."""

    def __init__(self) -> None:
        super().__init__(max_iteration=6)
        self.set_global("seed", 1)
        self.set_global("epochs", 3)
        self.set_global("rate", 0.1)
        self.worker = Task(Module("modules/worker.py", "pytorch", datasets=["digits"]))
        self.aggregator = Task(Module("modules/aggregator.py", "pytorch"), method="any", maximum=1)

    def execute(self) -> Vertex:
        """Train everywhere, then average and test in one place."""
        return self.aggregator(self.worker())
