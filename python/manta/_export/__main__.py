"""``python -m manta._export --to TRACKER --dir DIR``.

Reads JSON lines from standard input: ``{"swarm": …}`` first, a ``{"point": …}`` for each entry that a task logged,
and ``{"end": …}`` last; what breaks off before its end is kept as far as it came. Standard output gets one JSON object:
where the metrics are and how many, or an ``error`` with ``code``, ``message`` and ``hint``; then the exit code is 1, or
2 where the tracker's package is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manta import _codes
from manta._export._points import Point, Series, Swarm
from manta._export._trackers import TRACKERS, MissingPackage, Tracker


def main(arguments: list[str] | None = None) -> int:
    """Send what comes on standard input to the tracker that the command line names, and return the exit code."""
    parser = argparse.ArgumentParser(prog="manta._export", add_help=False)
    parser.add_argument("--to", required=True, choices=sorted(TRACKERS))
    parser.add_argument("--dir", required=True, type=Path)
    options = parser.parse_args(arguments)
    # An interrupt ends who writes to us, and so our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer, code = _answer(options.to, options.dir)
    print(json.dumps(answer), flush=True)
    return code


def _answer(to: str, folder: Path) -> tuple[dict[str, Any], int]:
    try:
        # What a tracker's package prints is talk, not data.
        with contextlib.redirect_stdout(sys.stderr):
            return _export(sys.stdin, to, folder), 0
    except MissingPackage as error:
        return _error(f"the package `{error.package}` is not installed in {sys.executable}", error.hint), 2
    except Exception as error:  # a tracker's package may raise anything
        return _error(f"{to} did not take the metrics: {type(error).__name__}: {error}", None), 1


def _export(lines: Iterable[str], to: str, folder: Path) -> dict[str, Any]:
    tracker: Tracker | None = None
    series = Series()
    for line in lines:
        message = json.loads(line)
        if "swarm" in message:
            tracker = TRACKERS[to](Swarm(**message["swarm"]), folder)
        elif tracker is None:
            raise ValueError("a point came before its swarm")
        elif "point" in message:
            tracker.add(series.place(Point(**message["point"])))
        else:
            tracker.end(message["end"]["state"])
    if tracker is None:
        raise ValueError("no swarm came")
    tracker.close()
    return {"where": tracker.where, "points": series.points, "series": len(series)}


def _error(message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"code": _codes.BAD_ARGUMENT, "message": message, "hint": hint}}


if __name__ == "__main__":
    sys.exit(main())
