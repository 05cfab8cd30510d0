"""Adapts what it does to the node and its connection."""

from manta.light.task import Task


class AdaptiveWorker(Task):
    def run(self):
        node_performance = self.local.get_performance_metrics()
        network_quality = self.local.get_network_quality()
        resources = self.local.get_resources()
        if network_quality < 0.5:
            strategy = "local rounds"
        elif node_performance["cpu_usage"] > 0.8:
            strategy = "lightweight"
        else:
            strategy = "standard"
        device = "cuda" if resources.gpu_available else "cpu"
        batch_size = resources.gpu_memory >> 20 if resources.gpu_available else resources.cpu_memory >> 20
        numbers = [network_quality, node_performance["cpu_usage"]]
        self.world.results.add("chosen", [*numbers, strategy, device, batch_size > 0])
