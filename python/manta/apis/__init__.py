"""The interface of a swarm's author: modules, tasks, swarms."""

import importlib
from typing import TYPE_CHECKING, Any

from manta._errors import AuthoringError, ManagerRefused, ManagerUnreachable
from manta.apis._graph import Condition, Vertex
from manta.apis._module import Module
from manta.apis._run import Run
from manta.apis._swarm import Swarm
from manta.apis._task import Task
from manta.apis.results import Results, RunResult

if TYPE_CHECKING:
    from manta.apis._async_user_api import AsyncUserAPI
    from manta.apis._user_api import SwarmStatus, UserAPI

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


_LATER = {"AsyncUserAPI": "_async_user_api", "SwarmStatus": "_user_api", "UserAPI": "_user_api"}


def __getattr__(name: str) -> Any:
    """Import what speaks to a manager when it is asked for: whoever traces a swarm has no use for TLS."""
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
