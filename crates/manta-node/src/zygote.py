"""Starts a zygote: imports ``manta.light`` and the modules named as arguments, and forks a task at each request."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from manta.light import _boot, _zygote


def run(argv: "list[str]") -> None:
    """Become the task, as its interpreter would have."""
    sys.argv = argv[-1:]
    _boot.main()


if __name__ == "__main__":
    _zygote.serve(run, sys.argv[1:])
