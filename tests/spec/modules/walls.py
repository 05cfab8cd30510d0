"""Tries what a sandboxed task must not be able to do, and tells how each try ended."""

import os
import socket
import sys
import tempfile
from pathlib import Path

from manta.light.errors import MantaError
from manta.light.task import Task


class Walls(Task):
    def run(self):
        tries = {
            "write code": lambda: Path(__file__).with_name("new.py").write_text("pass"),
            "another dataset": lambda: self.local.get_dataset("training_data"),
            "the host's passwords": lambda: Path("/etc/shadow").read_text(),
            "the network": lambda: socket.create_connection(("127.0.0.1", self.world.globals["port"]), 2),
            "another process": lambda: os.kill(self.world.globals["pid"], 0),
            "a foreign result": lambda: self.world.results.select("beside"),
            "a large file": self.large_file,
        }
        self.world.results.add("tries", {name: outcome(attempt) for name, attempt in tries.items()})
        self.world.results.add("pids", sum(name.isdigit() for name in os.listdir("/proc")))
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"local temporary storage")
        threads = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
        self.world.results.add("settings", [os.environ.get("TZ"), os.environ.get("HOME"), threads])
        self.world.results.add("python", [sys.version, sys.getfilesystemencoding()])

    def large_file(self):
        with open(os.path.join(tempfile.gettempdir(), "large"), "wb") as file:
            try:
                for _ in range(64):
                    file.write(bytes(1 << 20))
            finally:
                os.unlink(file.name)


def outcome(attempt):
    try:
        attempt()
    except (OSError, MantaError) as error:
        return type(error).__name__
    return "done"
