"""The interface of a swarm's author: modules, tasks, swarms."""

from manta._errors import AuthoringError
from manta.apis._graph import Condition, Vertex
from manta.apis._module import Module
from manta.apis._run import Run
from manta.apis._swarm import Swarm
from manta.apis._task import Task

__all__ = ["AuthoringError", "Condition", "Module", "Run", "Swarm", "Task", "Vertex"]
