"""Starts a zygote: imports ``manta.light`` and the modules named as arguments, and forks a task at each request."""

import os
import runpy
import sys
from collections.abc import Callable

sys.path.insert(0, __file__.rpartition("/")[0])

from manta.light import _boot, _zygote


def run(argv: "list[str]", wait: "Callable[[], None]") -> None:
    """Become the program that ``argv`` names after the interpreter and its options: a task, or the probes."""
    first = next(at for at, word in enumerate(argv) if at > 0 and not word.startswith("-"))
    sys.argv = argv[first:]
    if os.path.basename(sys.argv[0]) == "boot.py":
        _boot.main(wait)
    else:
        wait()
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _zygote.serve(run, ["manta.light._datasets", *sys.argv[1:]], rehearse=_boot.rehearse)
