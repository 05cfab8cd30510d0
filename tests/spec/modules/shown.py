"""Tells all that a task sees of its node and its swarm."""

from manta.light import Local, Task, World


class ExampleTask(Task):
    def __init__(self):
        self.kept = "without super().__init__()"

    def run(self):
        dataset = self.local.get_dataset("mnist")
        resources = self.local.get_resources()
        config = self.world.globals["training_config"]
        self.logger.debug(f"Dataset shape: {dataset.shape}")
        self.logger.info("Starting computation")
        self.logger.warning("A warning")
        self.logger.error("An error")
        print("printed")
        self.metrics.log({"loss": 0.5}, step=3)
        self.progress(1, 2)
        performance = self.local.get_performance_metrics()
        self.world.globals["seen_by_task"] = self.run_with(config["mu"]) if config["algorithm"] == "fedprox" else 0.0
        told = {
            "shape": dataset.shape,
            "shapes": dataset.shapes,
            "rows": self.local.get_dataset("table").shape,
            "lines": list(self.local.read_file_lines("table"))[:1],
            "files": [path.name for path in self.local.get_dataset("folder").files()],
            "resources": [
                resources.cpu_count,
                resources.cpu_memory,
                resources.gpu_available,
                resources.gpu_count,
                resources.gpu_memory,
                resources.disk,
            ],
            "performance": performance,
            "quality": self.local.get_network_quality(),
            "absent": self.world.globals.get("aggregation_method", "average"),
            "has": ["training_config" in self.world.globals, "nothing" in self.world.globals],
            "keys": sorted(self.world.globals.keys()),
            "own_write": self.world.globals["seen_by_task"],
            "who": [str(self.node), dict(self.node.labels), self.iteration, self.attempt, self.seed],
            "ids": [self.swarm_id, self.task_id],
            "bound": [isinstance(self.local, Local), isinstance(self.world, World), self.kept],
        }
        self.world.results.add("told", told)

    def run_with(self, mu):
        return mu * 2
