"""What the server does with the nodes' models: a class for each algorithm."""

from collections.abc import Mapping
from typing import Any

from manta.light import Task
from manta.light.aggregation import fedavg, fedavgm_step, scaffold_server_step, weighted_average


class Average(Task):
    """The mean of the models, weighted by samples: federated averaging."""

    def run(self) -> None:
        models, samples = self.world.results.select("model"), self.world.results.select("samples")
        self.world.globals["model"] = self.combine(models, dict(samples))

    def combine(self, models: Any, samples: Mapping[str, int]) -> Any:
        return fedavg(models, samples)


class Momentum(Average):
    """Goes on in the direction of the steps before: a stateful optimiser, whose velocity stays on its node."""

    def combine(self, models: Any, samples: Mapping[str, int]) -> Any:
        velocity = self.local.get_state("velocity", default=None)
        average = fedavg(models, samples)
        model, velocity = fedavgm_step(self.world.globals["model"], average, velocity, momentum=0.5)
        self.local.set_state("velocity", velocity)
        return model


class Regions(Average):
    """Averages within each region first, then over regions, each counted by its samples."""

    def combine(self, models: Any, samples: Mapping[str, int]) -> Any:
        groups = models.group_by("region")
        means = {region: weighted_average(group, samples_of(group, samples)) for region, group in groups.items()}
        sizes = {region: sum(samples[key] for key in group) for region, group in groups.items()}
        self.logger.info("regions: %s", sizes)
        return weighted_average(means, sizes)


class Scaffold(Average):
    """Steps model and control variate."""

    def combine(self, models: Any, samples: Mapping[str, int]) -> Any:
        changes = self.world.results.select("control_change")
        model, control = self.world.globals["model"], self.world.globals["control"]
        model, self.world.globals["control"] = scaffold_server_step(model, control, models, changes, len(models))
        return model


def samples_of(group: Mapping[str, Any], samples: Mapping[str, int]) -> dict[str, int]:
    return {key: samples[key] for key in group}
