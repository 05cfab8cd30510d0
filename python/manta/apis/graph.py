"""The graph interface, under the path that existing swarms import."""

from manta.apis._graph import Condition, Vertex
from manta.apis._task import Task

__all__ = ["Condition", "Task", "Vertex"]
