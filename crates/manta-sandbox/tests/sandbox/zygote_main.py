"""A zygote whose children run what follows ``-c``, or the directory after ``-B``, as the interpreter does."""

import runpy
import sys

sys.path.insert(0, "/light")

from _zygote import serve


def run(argv, wait):
    wait()
    if "-c" in argv:
        at = argv.index("-c")
        sys.argv = ["-c", *argv[at + 2 :]]
        exec(compile(argv[at + 1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = argv[argv.index("-B") + 1 :]
        runpy.run_path(sys.argv[0], run_name="__main__")


serve(run, sys.argv[1:])
