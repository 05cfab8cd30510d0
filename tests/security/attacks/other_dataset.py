"""Opens a dataset that the node offers and the module does not list."""

import os
from pathlib import Path


def attempts(data, host):
    yield "the path beside ours", lambda: Path("/data/other").read_bytes()
    yield "its path on the host", lambda: Path(host["other"]).read_bytes()
    yield "a link inside our dataset", (data / "link").read_bytes
    yield "anything else below /data", lambda: sorted(set(os.listdir("/data")) - {"mine"})[0]


def requests(task):
    yield "asking for it", lambda: task.local.get_dataset("other").path
    yield "a name that leads out", lambda: task.local.get_dataset("../other").path
    yield "a path that leads out", lambda: task.local.get_binary_data("mine/../../other").read()
    yield "a link asked for", lambda: task.local.get_binary_data("mine/link").read()
    yield "the platform, past its library", lambda: ask_directly(task)


def ask_directly(task):
    """Ask the agent as the library does, but without the library's own check."""
    from manta.light import _attempt

    return _attempt.current("attack").request("dataset", name="other").fields["path"]
