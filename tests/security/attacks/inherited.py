"""Looks for what was left open or lying about: descriptors, variables, arguments."""

import os
from pathlib import Path


def attempts(data, host):
    yield "descriptors beside the four", spare_descriptors
    yield "a variable of the user", lambda: os.environ["SECRET_OF_THE_USER"]
    yield "a variable of the platform", variable_of_the_platform
    yield "the same in /proc", lambda: found(Path("/proc/self/environ").read_bytes(), host["sentinel"])
    yield "the same in the init's", lambda: found(Path("/proc/1/environ").read_bytes(), host["sentinel"])
    yield "arguments of the init", lambda: found(Path("/proc/1/cmdline").read_bytes(), b"token")
    yield "the user's home", lambda: os.listdir(host["home"])


def spare_descriptors():
    """Return descriptors that lead anywhere but to the three streams, the socket, and this very pipe."""
    spare = {}
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if number > 3 and not target.startswith(("pipe:", "/code", "/manta", "/usr")):
            spare[number] = target
    if not spare:
        raise FileNotFoundError("none")
    return spare


def variable_of_the_platform():
    """Return what tells something about the agent or whoever started it."""
    telling = {name: value for name, value in os.environ.items() if "TOKEN" in name or "TEST" in name}
    if not telling:
        raise KeyError("none")
    return telling


def found(text, wanted):
    wanted = wanted.encode() if isinstance(wanted, str) else wanted
    if wanted not in text:
        raise LookupError("not there")
    return text
