"""What a probe is, and how one is tried: in a child, as some are answered with a kill.

Forking is most of what the suite costs. So a child goes on with further probes where those that are denied leave
nothing behind; one that succeeds is its last, and one that ends it is known by what was said before.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import gvisor
from .isolation import OUTSIDE, enter

LIMIT_S = 30.0
"""How long one probe may take: on a machine that stands still under its load, some do."""

GOT = "got"
"""The outcome of a probe that succeeds."""

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
    traceless : bool
        Whether the process is as before once it was denied, so that the next may be tried in the same.
    """

    name: str
    attempt: Callable[[Stage], Any]
    denied: tuple[str, ...]
    needs: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    containers: tuple[str, ...] = ENGINES
    names_host: bool = False
    heard: str = ""
    traceless: bool = False

    @property
    def works(self) -> bool:
        """Whether it is something that every task must be able to do."""
        return not self.denied

    def untried(self, stage: Stage) -> str:
        """Return why it is not tried here, in one word; nothing if it is."""
        if self.tiers and stage.tier not in (*self.tiers, OUTSIDE):
            return "unclaimed"
        if stage.container and stage.container not in self.containers:
            return "unclaimed"
        if stage.container == "gvisor" and self.name in gvisor.ITS_OWN:
            return "unclaimed"
        if self.names_host and stage.image:
            return "unstaged"
        return "" if all(need in stage for need in self.needs) else "unstaged"

    def report(self, stage: Stage, state: str, outcome: str = "", detail: str = "") -> dict[str, str]:
        """Say how it went, or why it was not tried."""
        if not state:
            lacking = stage.container == "gvisor" and not self.works and outcome in gvisor.LACKING
            state = "denied" if lacking else self.state(outcome, outside=stage.tier == OUTSIDE)
        return {"name": self.name, "heard": self.heard, "outcome": outcome, "detail": detail, "state": state}

    def state(self, outcome: str, *, outside: bool) -> str:
        """What an outcome means; that the kernel lacks something excuses nothing inside a sandbox."""
        if self.works:
            return "works" if outcome == GOT else "broken"
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


def in_children(attempts: Sequence[Callable[[], Any]], *, outside: bool) -> Iterator[tuple[str, str]]:
    """Try them in a child, and after one that ends it in the next; yield each outcome in a word, and a detail."""
    done = 0
    while done < len(attempts):
        said = in_child(attempts[done:], outside=outside)
        yield from said
        done += len(said)


def in_child(attempts: Sequence[Callable[[], Any]], *, outside: bool) -> list[tuple[str, str]]:
    """Try them one after the other in one child, to the first that succeeds or ends it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.setsid()
            if outside:
                enter()
            for attempt in attempts:
                said = tried(attempt)
                os.write(write, json.dumps(said).encode() + b"\n")
                if said[0] == GOT:
                    break
        finally:
            os._exit(0)
    os.close(write)
    heard: list[tuple[str, str]] = []
    silence = DIED
    try:
        for line in lines(read):
            outcome, detail = json.loads(line)
            heard.append((outcome, detail))
            if outcome == GOT or len(heard) == len(attempts):
                silence = ""
                break  # What it left behind may hold its end of the pipe.
    except TimeoutError:
        silence = HUNG
    os.close(read)
    for kill, target in ((os.killpg, child), (os.kill, child)):
        try:
            kill(target, signal.SIGKILL)
        except OSError:
            pass  # It is gone, or not yet in a session of its own.
    status = os.waitpid(child, 0)[1]
    if silence == HUNG:
        heard.append((HUNG, f"it took more than {LIMIT_S:g} s"))
    elif silence == DIED:
        heard.append((signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else DIED, ""))
    return heard


def lines(read: int) -> Iterator[bytes]:
    """Yield what a child writes until it ends; raise TimeoutError if the next line takes too long."""
    heard, deadline = b"", time.monotonic() + LIMIT_S
    while True:
        line, end, rest = heard.partition(b"\n")
        if end:
            yield line
            heard, deadline = rest, time.monotonic() + LIMIT_S
            continue
        if not select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        chunk = os.read(read, 1 << 16)
        if not chunk:
            return
        heard += chunk


def tried(attempt: Callable[[], Any]) -> tuple[str, str]:
    """Try it here."""
    try:
        outcome, detail = GOT, repr(attempt())
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
