"""Adds what the workers published to the total."""

from manta.light.task import Task


class Gather(Task):
    """Adds (iteration + 1) x number for each part, and refuses a part of another swarm or iteration."""

    def run(self):
        total = seen = self.world.globals.get("total", 0)
        parts = [str(part) for part in self.world.results.select("part").values()]
        for part in parts:
            swarm, *words = part.split(":")
            iteration, number, before, _ = (int(word) for word in words)
            if (swarm, iteration, before) != (self.swarm_id, self.iteration, seen):
                raise ValueError(f"in iteration {self.iteration} with total {seen} came the part {part}")
            total += (iteration + 1) * number
        self.world.globals["total"] = total
        self.world.results.add("sum", f"{self.swarm_id}:{self.iteration}:{total}:{len(parts)}")


def main():
    Gather().run()
