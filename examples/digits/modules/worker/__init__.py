"""Trains the swarm's model on this node's digits and publishes what came out."""

from manta.light.task import Task

from .softmax import initial_model, loss, shuffle_rng, train


class Worker(Task):
    """Local training: reads the global model, publishes a better one and the number of samples behind it."""

    def run(self) -> None:
        digits = self.local.get_dataset("digits")
        x, y = digits["x_train"], digits["y_train"]
        shared = self.world.globals

        model = shared.get("model")
        if model is None:
            model = initial_model(pixels=x.shape[1])
        model = train(
            model,
            x,
            y,
            epochs=shared["epochs"],
            batch_size=shared["batch_size"],
            rate=shared["rate"],
            rng=shuffle_rng(shared["seed"], self.iteration, self.node),
        )

        self.metrics.log({"loss": loss(model, x, y)})
        self.logger.info("trained on %d digits", len(y))
        self.world.results.add("model", model)
        self.world.results.add("samples", len(y))


def main() -> None:
    Worker().run()
