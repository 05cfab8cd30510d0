"""Says hello from the node that it runs on."""

from manta.light.task import Task


class Greet(Task):
    """Publishes one sentence."""

    def run(self) -> None:
        greeting = self.world.globals["greeting"]
        self.logger.info("saying %s", greeting)
        self.world.results.add("greeting", f"{greeting} from {self.node}")


def main() -> None:
    Greet().run()
