"""Container engines of this machine, each with a root and a socket of its own, for as long as a test runs."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from .waiting import wait_until

PROGRAMS = {"docker": ["dockerd"], "podman": ["podman"], "gvisor": ["dockerd", "runsc"]}

SETTINGS = {
    "iptables": False,
    "ip6tables": False,
    "bridge": "none",
    "runtimes": {"runsc": {"path": "runsc", "runtimeArgs": ["--host-uds=open", "--network=none"]}},
}
"""What Docker is started with: no change to this machine's network, and a runtime that tests may ask for."""


@contextlib.contextmanager
def running(engine):
    """Start an engine and give its socket; skip the test where it cannot be started."""
    program, *others = (shutil.which(name) for name in PROGRAMS[engine])
    if None in (program, *others):
        pytest.skip(f"needs {' and '.join(PROGRAMS[engine])}")
    if os.geteuid() != 0:
        pytest.skip(f"needs root to start {engine}")
    # Beside the places that are searched for what a test left.
    with tempfile.TemporaryDirectory(prefix="mt-engine-", dir="/var/lib", ignore_cleanup_errors=True) as root:
        root = Path(root)
        socket = root / "socket"
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(  # its environment is not the test's: it outlives the search for leaks
                [program, *arguments(engine, root, socket)],
                cwd=root,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(60, lambda: lacks(process, socket))
            yield socket
        finally:
            process.terminate()
            process.wait(30)
            for mounted in (root / "root/overlay", root / "root"):
                subprocess.run(["umount", "--lazy", mounted], capture_output=True, check=False)


def arguments(engine, root, socket):
    """Return what the engine is started with."""
    if engine != "podman":
        (root / "daemon.json").write_text(json.dumps(SETTINGS))
        options = {"config-file": "daemon.json", "data-root": "root", "exec-root": "exec", "pidfile": "pid"}
        return [*(f"--{name}={root / file}" for name, file in options.items()), f"--host=unix://{socket}"]
    options = {"root": "root", "runroot": "run", "tmpdir": "tmp"}
    runtime = "runc" if shutil.which("runc") else "crun"
    where = [f"--{name}={root / file}" for name, file in options.items()]
    return [
        *where,
        f"--runtime={runtime}",
        "--events-backend=file",
        "system",
        "service",
        "--time=0",
        f"unix://{socket}",
    ]


def lacks(process, socket):
    """What is missing until the engine answers."""
    if process.poll() is not None:
        said = (socket.parent / "log").read_text(errors="replace").strip().splitlines()
        pytest.skip(f"needs an engine that starts here: {said[-1] if said else 'it said nothing'}")
    asked = ["curl", "--silent", "--max-time", "5", "--unix-socket", socket, "http://engine/_ping"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return None if "OK" in answer else f"it does not answer: {answer!r}"
