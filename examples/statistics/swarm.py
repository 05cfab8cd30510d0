"""The mean and the variance of a column that is spread over many nodes; no row ever leaves its node.

Run it with `manta run swarm.py --nodes 3 --data 'heights=data/{node}.csv'`.
"""

from manta.apis import Module, Swarm, Task, Vertex


class Statistics(Swarm):
    """Each node sends three numbers; one node combines them exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.set_global("column", "height")
        self.measure = Task(Module("modules/measure.py", datasets=["heights"]), method="all")
        self.combine = Task(Module("modules/combine.py"), method="any", maximum=1)

    def execute(self) -> Vertex:
        """Measure everywhere, combine in one place."""
        return self.combine(self.measure())
