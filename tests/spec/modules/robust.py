"""Publishes a status and raises again what it did not expect; the error classes are named without an import."""

from manta.light.task import *  # noqa: F403


class RobustTask(Task):  # noqa: F405
    def run(self):
        try:
            self.execute_computation()
        except DataCorruptionError as e:  # noqa: F405
            self.logger.error(f"Data corruption detected: {e}")
            self.world.results.add("status", "failed_data_corruption")
        except ResourceExhaustionError as e:  # noqa: F405
            self.logger.warning(f"Resource exhaustion: {e}")
            self.world.results.add("status", "failed_resources")
        except Exception as e:
            self.logger.error(f"Unexpected error: {e}")
            self.world.results.add("status", "failed_unknown")
            raise

    def execute_computation(self):
        kind = self.world.globals["kind"]
        if kind == "corrupt":
            self.local.get_dataset("broken")
        elif kind == "exhausted":
            raise ResourceExhaustionError("no room left")  # noqa: F405
        else:
            raise ValueError("the weights diverged")
