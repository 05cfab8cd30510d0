"""Two levels of aggregation: within each region, then over regions."""

from manta.light.aggregation import weighted_average
from manta.light.task import Task


class HierarchicalAggregator(Task):
    def run(self):
        regional_results = self.aggregate_by_region()
        self.world.results.add("regional", regional_results)
        self.world.globals["global_model"] = weighted_average(regional_results)

    def aggregate_by_region(self):
        models = self.world.results.select("model_params")
        return {region: weighted_average(group) for region, group in models.group_by("region").items()}
