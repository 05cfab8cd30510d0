"""The interface of the code inside a task; the standard library is all it needs.

Examples
--------
>>> from manta.light import Task
>>> class Hello(Task):
...     def run(self):
...         self.logger.info("hello from %s", self.node)
"""

from .errors import (
    DataCorruptionError,
    DatasetNotAuthorized,
    MantaError,
    ResourceExhaustionError,
    ResultNotFound,
    ValueNotCarried,
)
from .local import Local
from .task import Task
from .world import World

__all__ = [
    "DataCorruptionError",
    "DatasetNotAuthorized",
    "Local",
    "MantaError",
    "ResourceExhaustionError",
    "ResultNotFound",
    "Task",
    "ValueNotCarried",
    "World",
]
