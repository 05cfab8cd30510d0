"""The swarm interface, under the path that existing swarms import."""

from manta.apis._module import Module
from manta.apis._swarm import Swarm
from manta.apis._task import Task

__all__ = ["Module", "Swarm", "Task"]
