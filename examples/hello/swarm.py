"""The smallest swarm that says something: every node greets, one node collects the greetings.

Run it with `manta run swarm.py --nodes 3`.
"""

from manta.apis import Module, Swarm, Task, Vertex


class Hello(Swarm):
    """Two tasks, no data, nothing but the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self.set_global("greeting", "Hello")
        self.greet = Task(Module("modules/greet.py"), method="all")
        self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

    def execute(self) -> Vertex:
        """Greet everywhere, then collect in one place."""
        greetings = self.greet()
        return self.collect(greetings)
