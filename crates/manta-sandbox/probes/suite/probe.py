"""What a probe is, and how one is tried: in a process of its own, as some are answered with a kill."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import gvisor
from .isolation import OUTSIDE, enter

LIMIT_S = 30.0
"""How long one probe may take: on a machine that stands still under its load, some do."""

HUNG, DIED = "hung", "died"
"""Outcomes of probes that said nothing: neither a denial nor a success."""

DETAIL_CHARACTERS_MAX = 200
"""What is kept of what a probe got, or of why it did not."""

GONE = ("ENOENT", "EACCES", "EPERM", "ENOTDIR")
"""Answers to someone who looks for a file that is not there, or not his."""

LACKING = (
    "ENOSYS",
    "EAFNOSUPPORT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "ENODEV",
    "ENXIO",
    "EOPNOTSUPP",
    "ENOPROTOOPT",
)
"""Answers of a kernel that was built without something."""

ENGINES = ("docker", "podman", "gvisor")
"""Engines whose containers are sandboxes."""

NAMESPACED = ("full", "rootless")
"""Tiers in which a task has namespaces of its own."""


class Absent(Exception):
    """What was looked for is not there, or holds nothing."""


@dataclass(frozen=True)
class Stage:
    """What was put up outside for the probes to aim at, by name; nothing in the short form.

    ``container`` names the engine whose container the sandbox is; ``image`` says that its root directory
    is an image's own.
    """

    tier: str
    targets: dict[str, Any]
    container: str = ""
    image: bool = False

    def __getattr__(self, name: str) -> Any:
        """Return a target."""
        return self.targets[name]

    def __contains__(self, name: str) -> bool:
        """Whether there is such a target."""
        return name in self.targets


@dataclass(frozen=True)
class Probe:
    """One attempt.

    Parameters
    ----------
    name : str
        Its group, a colon, and what it tries.
    attempt : callable
        Tries it: returns what it got, or raises.
    denied : tuple of str
        The answers that count as denied: names of errors, of signals, of exceptions, or ``absent``. None: it must work.
    needs : tuple of str
        Targets without which it cannot be tried.
    tiers : tuple of str
        Tiers that claim it; all if empty.
    containers : tuple of str
        Engines whose containers claim it: the first process of one has the task's uid, and is seen.
    names_host : bool
        Whether it takes a path for the host's, which in an image is the image's own.
    heard : str
        What the target hears if the probe succeeds where it cannot know itself.
    """

    name: str
    attempt: Callable[[Stage], Any]
    denied: tuple[str, ...]
    needs: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    containers: tuple[str, ...] = ENGINES
    names_host: bool = False
    heard: str = ""

    @property
    def works(self) -> bool:
        """Whether it is something that every task must be able to do."""
        return not self.denied

    def report(self, stage: Stage) -> dict[str, str]:
        """Try it, where that can be done, and say how it went."""
        said = {"name": self.name, "heard": self.heard, "outcome": "", "detail": ""}
        if self.tiers and stage.tier not in (*self.tiers, OUTSIDE):
            return {**said, "state": "unclaimed"}
        if stage.container and stage.container not in self.containers:
            return {**said, "state": "unclaimed"}
        if stage.container == "gvisor" and self.name in gvisor.ITS_OWN:
            return {**said, "state": "unclaimed"}
        if self.names_host and stage.image:
            return {**said, "state": "unstaged"}
        if not all(need in stage for need in self.needs):
            return {**said, "state": "unstaged"}
        outside = stage.tier == OUTSIDE
        outcome, detail = in_child(lambda: self.attempt(stage), outside=outside)
        if stage.container == "gvisor" and not self.works and outcome in gvisor.LACKING:
            return {**said, "state": "denied", "outcome": outcome, "detail": detail}
        return {**said, "state": self.state(outcome, outside=outside), "outcome": outcome, "detail": detail}

    def state(self, outcome: str, *, outside: bool) -> str:
        """What an outcome means; that the kernel lacks something excuses nothing inside a sandbox."""
        if self.works:
            return "works" if outcome == "got" else "broken"
        if outcome in (HUNG, DIED):
            return "unclear"
        if outcome in self.denied:
            return "denied"
        return "lacking" if outside and outcome in LACKING else "allowed"


class Group:
    """Collects the probes of one kind."""

    def __init__(self, name: str, **defaults: Any) -> None:
        self.name = name
        self.defaults = defaults
        self.probes: list[Probe] = []

    def add(self, name: str, attempt: Callable[[Stage], Any], **options: Any) -> None:
        """Add a probe; options that are not given are the group's."""
        self.probes.append(Probe(f"{self.name}: {name}", attempt, **{**self.defaults, **options}))

    def probe(self, name: str, **options: Any) -> Callable[[Callable[[Stage], Any]], Callable[[Stage], Any]]:
        """Add the function that follows as a probe."""

        def collect(attempt: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
            self.add(name, attempt, **options)
            return attempt

        return collect


def in_child(attempt: Callable[[], Any], *, outside: bool) -> tuple[str, str]:
    """Try it in a child; return the outcome in one word, and what there is to say about it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.setsid()
            if outside:
                enter()
            os.write(write, json.dumps(tried(attempt)).encode())
        finally:
            os._exit(0)
    os.close(write)
    heard = hear(read)
    os.close(read)
    for kill, target in ((os.killpg, child), (os.kill, child)):
        try:
            kill(target, signal.SIGKILL)
        except OSError:
            pass  # It is gone, or not yet in a session of its own.
    status = os.waitpid(child, 0)[1]
    if heard is None:
        return HUNG, f"it took more than {LIMIT_S:g} s"
    if not heard:
        return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else DIED, ""
    outcome, detail = json.loads(heard)
    return outcome, detail


def hear(read: int) -> bytes | None:
    """Return what a child writes until it ends, or nothing if it takes too long."""
    heard, deadline = b"", time.monotonic() + LIMIT_S
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(read, 1 << 16)
        if not chunk:
            return heard
        heard += chunk
        if heard.endswith(b"]"):
            return heard


def tried(attempt: Callable[[], Any]) -> tuple[str, str]:
    """Try it here."""
    try:
        outcome, detail = "got", repr(attempt())
    except Absent as why:
        outcome, detail = "absent", str(why)
    except OSError as error:
        outcome = errno.errorcode.get(error.errno or 0, type(error).__name__)
        detail = str(error)
    except BaseException as error:
        outcome, detail = type(error).__name__, str(error)
    return outcome, detail[:DETAIL_CHARACTERS_MAX]


def absent(found: Any, why: str = "nothing") -> Any:
    """Return what was found, if it is something."""
    if not found:
        raise Absent(why)
    return found
