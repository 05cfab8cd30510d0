"""Runs the probes (`python -I -B DIRECTORY --tier full [--stage JSON]`), or puts up what they aim at (`… stage`)."""

import sys

from suite import run, stage

if __name__ == "__main__":
    main, arguments = (stage.main, sys.argv[2:]) if sys.argv[1:2] == ["stage"] else (run.main, sys.argv[1:])
    sys.exit(main(arguments))
