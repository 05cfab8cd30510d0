"""Calls that wait, for code that runs in an event loop: each is made in a thread, and awaited."""

from typing import TYPE_CHECKING, Any, Callable, Coroutine, TypeVar

if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec

    _Params = ParamSpec("_Params")

_Self = TypeVar("_Self")
_Result = TypeVar("_Result")


def twin(
    call: "Callable[Concatenate[_Self, _Params], _Result]",
) -> "Callable[Concatenate[_Self, _Params], Coroutine[Any, Any, _Result]]":
    """Return a coroutine method that does what ``call`` does, and lets the event loop go on meanwhile.

    What is awaited at the same time is answered one at a time, in any order.
    """

    async def awaited(self: _Self, /, *args: "_Params.args", **kwargs: "_Params.kwargs") -> _Result:
        import asyncio

        return await asyncio.to_thread(call, self, *args, **kwargs)

    awaited.__name__ = f"async_{call.__name__}"
    awaited.__qualname__ = f"{call.__qualname__.rpartition('.')[0]}.{awaited.__name__}"
    awaited.__wrapped__ = call  # type: ignore[attr-defined]  # shows its signature
    awaited.__doc__ = f"Do what ``{call.__name__}`` does, awaited."
    return awaited
