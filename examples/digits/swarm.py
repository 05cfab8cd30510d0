"""Five nodes learn to read handwritten digits together; no digit ever leaves its node.

    python prepare.py --out shards
    manta run swarm.py --nodes 5 --data 'digits=shards/{node}.npz'

Each node mostly knows two digits of its own, so none of them could learn all ten alone.
"""

from manta.apis import Module, Swarm, Task, Vertex


class Digits(Swarm):
    """Federated averaging of a logistic regression, until it reads enough held-out digits."""

    def __init__(self) -> None:
        super().__init__(max_iteration=30)

        self.set_global("seed", 1)  # orders the samples; the same seed gives the same model
        self.set_global("rate", 0.5)
        self.set_global("epochs", 5)  # on each node, in each iteration
        self.set_global("batch_size", 32)
        self.set_global("target", 0.94)  # held-out accuracy at which the scheduler stops the swarm

        self.worker = Task(Module("modules/worker", "numpy", datasets=["digits"]), method="all")
        self.aggregator = Task(Module("modules/aggregator.py", "numpy"), method="any", maximum=1)
        self.evaluate = Task(Module("modules/evaluate.py", "numpy", datasets=["digits"]), method="all")
        self.scheduler = Task(Module("modules/scheduler.py", "numpy"), method="any", maximum=1)

    def execute(self) -> Vertex:
        """One iteration: train everywhere, average, test everywhere, decide."""
        models = self.worker()
        model = self.aggregator(models)
        counts = self.evaluate(model)
        return self.scheduler(counts)
