"""Collects what the nodes have said."""

from manta.light.task import Task


class Collect(Task):
    """Prints every greeting and keeps them all as a global."""

    def run(self) -> None:
        greetings = self.world.results.select("greeting")
        for node, greeting in greetings.items():
            print(f"{node} says: {greeting}")
        self.world.globals["greetings"] = list(greetings.values())


def main() -> None:
    Collect().run()
