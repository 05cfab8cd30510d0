"""The same manager for code that runs in an event loop: every call is awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from manta.apis._user_api import SwarmStatus, UserAPI

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


def _awaited(
    call: Callable[Concatenate[UserAPI, _Params], _Result],
) -> Callable[Concatenate[AsyncUserAPI, _Params], Coroutine[Any, Any, _Result]]:
    async def wait(self: AsyncUserAPI, /, *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        return await asyncio.to_thread(call, self._api, *args, **kwargs)

    wait.__name__, wait.__qualname__ = call.__name__, f"AsyncUserAPI.{call.__name__}"
    wait.__doc__ = call.__doc__
    wait.__wrapped__ = call  # type: ignore[attr-defined]  # shows its signature
    return wait


class AsyncUserAPI:
    """A manager, asked in a user's name: the calls of :class:`UserAPI`, awaited.

    Parameters
    ----------
    manager, token, token_file, cluster
        As for :class:`UserAPI`.

    Examples
    --------
    >>> async def run(swarm):
    ...     api = AsyncUserAPI()
    ...     ended = await api.wait(await api.deploy(swarm))
    ...     return await api.globals(ended)
    """

    def __init__(
        self,
        manager: str | None = None,
        token: str | None = None,
        *,
        token_file: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
    ) -> None:
        self._api = UserAPI(manager, token, token_file=token_file, cluster=cluster)

    deploy = _awaited(UserAPI.deploy)
    swarms = _awaited(UserAPI.swarms)
    swarm = _awaited(UserAPI.swarm)
    wait = _awaited(UserAPI.wait)
    events = _awaited(UserAPI.events)
    logs = _awaited(UserAPI.logs)
    results = _awaited(UserAPI.results)
    globals = _awaited(UserAPI.globals)
    why = _awaited(UserAPI.why)
    stop = _awaited(UserAPI.stop)
    pause = _awaited(UserAPI.pause)
    resume = _awaited(UserAPI.resume)
    retry = _awaited(UserAPI.retry)
    modules = _awaited(UserAPI.modules)
    module = _awaited(UserAPI.module)
    nodes = _awaited(UserAPI.nodes)
    drain = _awaited(UserAPI.drain)
    resume_node = _awaited(UserAPI.resume_node)

    async def watch(self, swarm: str | SwarmStatus) -> AsyncIterator[dict[str, Any]]:
        """Yield a swarm's events, from its first to its last, as they happen."""
        events, end = self._api.watch(swarm), object()
        while (event := await asyncio.to_thread(next, events, end)) is not end:
            yield event  # type: ignore[misc]

    def __repr__(self) -> str:
        return repr(self._api)
