"""The interface of a swarm's author: modules, tasks, swarms."""

from typing import TYPE_CHECKING, Any

from manta._errors import AuthoringError, ManagerRefused, ManagerUnreachable
from manta.apis._graph import Condition, Vertex
from manta.apis._module import Module
from manta.apis._run import Run
from manta.apis._swarm import Swarm
from manta.apis._task import Task
from manta.apis._user_api import SwarmStatus, UserAPI
from manta.apis.results import Results, RunResult

if TYPE_CHECKING:
    from manta.apis._async_user_api import AsyncUserAPI

__all__ = [
    "AsyncUserAPI",
    "AuthoringError",
    "Condition",
    "ManagerRefused",
    "ManagerUnreachable",
    "Module",
    "Results",
    "Run",
    "RunResult",
    "Swarm",
    "SwarmStatus",
    "Task",
    "UserAPI",
    "Vertex",
]


def __getattr__(name: str) -> Any:
    """Import what needs asyncio when it is asked for."""
    if name == "AsyncUserAPI":
        from manta.apis._async_user_api import AsyncUserAPI

        return AsyncUserAPI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
