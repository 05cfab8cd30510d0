"""Values that belong to the whole swarm."""

from typing import Any, Iterator, KeysView, Mapping

from . import _attempt
from ._async import twin
from ._memory import open_value, publish
from ._names import check_name, did_you_mean, quoted
from .errors import GlobalNotFound

__all__ = ["Globals"]


class Globals(Mapping[str, Any]):
    """The swarm's globals, as this attempt may see and change them.

    All attempts of a task run read one and the same revision, plus their own writes. Writes take
    effect when the task run closes, if this attempt is accepted. Each read gives a fresh value,
    so changing one in place changes nothing until it is assigned.

    Examples
    --------
    >>> class Decay(Task):
    ...     def run(self):
    ...         rate = self.world.globals["rate"] * self.world.globals.get("decay", 0.5)
    ...         self.world.globals["rate"] = rate
    >>> run_task(Decay, globals={"rate": 0.5}).globals
    {'rate': 0.25}
    """

    def __getitem__(self, name: str) -> Any:
        check_name("global", name)
        reply = _attempt.current("world.globals").request("global_get", name=name)
        if reply.fields.get("found"):
            return open_value(reply.take_descriptor(), f'global "{name}"')
        names = [str(known) for known in reply.fields.get("names", [])]
        there = f"it has {quoted(names)}" if names else "it has none yet"
        raise GlobalNotFound(f'the swarm has no global "{name}"; {there}', hint=did_you_mean(name, names))

    def __setitem__(self, name: str, value: Any) -> None:
        subject = f'global "{check_name("global", name)}"'
        publish(_attempt.current("world.globals"), "global_set", name, value, subject)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the global, or ``default`` where the swarm has none of that name."""
        try:
            return self[name]
        except GlobalNotFound:
            return default

    def keys(self) -> KeysView[str]:
        """Return the names of all globals."""
        return super().keys()

    def update(self, /, *values: Mapping[str, Any], **more: Any) -> None:
        """Set several globals.

        Parameters
        ----------
        *values : mapping
            Names and values.
        **more : object
            Names and values, written as keywords.
        """
        for name, value in dict(*values, **more).items():
            self[name] = value

    def _set(self, name: str, value: Any) -> None:
        self[name] = value

    async_get = twin(get)
    async_set = twin(_set)
    async_keys = twin(keys)
    async_update = twin(update)

    def __repr__(self) -> str:
        if _attempt.bound() is None:
            return "Globals(outside a task)"
        return f"Globals({quoted(self._names())})"

    def _names(self) -> "list[str]":
        reply = _attempt.current("world.globals").request("global_keys")
        return [str(name) for name in reply.fields.get("names", [])]
