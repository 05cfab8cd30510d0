"""What a task must not reach, and under which settings it runs."""

import os
import random
import socket

import numpy as np
import pytest

from manta.apis import Module, Swarm, Task
from spec.place import MODULES


def module(path, **options):
    """Return one of the suite's modules."""
    return Module(MODULES / path, **options)


class Walled(Swarm):
    """One task that tries, beside one that publishes for nobody."""

    def __init__(self, port):
        self.walls = Task(module("walls.py", datasets=["mnist"], resources={"tmp": "16MiB", "memory": "512MiB"}))
        self.beside = Task(module("beside.py"), method="any")
        self.set_global("port", port)
        self.set_global("pid", os.getpid())


@pytest.fixture(scope="module")
def walled(platform):
    """Run it once, with a port that is open on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield platform.run(Walled(server.getsockname()[1]))


@pytest.mark.claim(51, 60, 61, 62, 64, 65)
def test_no_try_gets_out(walled):
    for node, tries in walled.values("tries").items():
        assert tries.pop("another dataset") == "DatasetNotAuthorized", node
        assert tries.pop("a foreign result") == "ResultNotFound", node
        assert tries.pop("a large file") == "OSError", node
        assert "done" not in tries.values(), (node, tries)


@pytest.mark.claim(59)
def test_a_task_sees_its_own_processes_only(walled):
    assert all(count <= 8 for count in walled.values("pids").values())


@pytest.mark.claim(66, 72, 73)
def test_settings_and_interpreter_are_the_same_everywhere(walled):
    settings, pythons = walled.values("settings"), walled.values("python")
    assert all(one == ["UTC", "/tmp", ["1", "1"]] for one in settings.values()), settings
    assert len({tuple(one) for one in pythons.values()}) == 1 and next(iter(pythons.values()))[1] == "utf-8"


class Hungry(Swarm):
    """A task that takes memory without end."""

    def __init__(self):
        self.hungry = Task(module("hungry.py", resources={"memory": "256MiB"}), method="any", retries=0)


@pytest.mark.claim(63)
def test_a_task_is_held_to_its_memory(platform):
    outcome = platform.run(Hungry(), "failed")
    told = " ".join([outcome.status.reason, *(event["message"] for event in outcome.events)])
    assert "memory" in told, told


class Drawn(Swarm):
    """The same draws for the same swarm, iteration, task and node."""

    def __init__(self):
        self.draws = Task(module("draws.py", name="draws"), fixed=True)


@pytest.mark.claim(73)
def test_random_numbers_follow_the_seed_of_the_attempt(platform):
    drawn = platform.run(Drawn()).results["drawn"]
    seeds = [seed for row in drawn.values() for _, _, seed in row.values()]
    assert len(seeds) == len(set(seeds)) >= 4, "each node and iteration has a seed of its own"
    for row in drawn.values():
        for node, (plain, legacy, seed) in row.items():
            wanted = random.Random(seed).random(), float(np.random.RandomState(seed % 2**32).random_sample())
            assert (plain, legacy) == wanted, f"{node} draws what its seed gives"
