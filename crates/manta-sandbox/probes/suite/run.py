"""Tries every probe and says how each went, a JSON object a line; the last line says how many there were."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, groupby
from typing import Any

from . import (
    descriptors,
    devices,
    files,
    ipc,
    kernel,
    permitted,
    privileges,
    proc,
    processes,
    refused,
    sockets,
    writing,
)
from .isolation import OUTSIDE, enter
from .probe import Probe, Stage, in_children

GROUPS = (
    files.GROUP,
    writing.GROUP,
    devices.GROUP,
    proc.GROUP,
    kernel.GROUP,
    refused.GROUP,
    sockets.GROUP,
    processes.GROUP,
    privileges.GROUP,
    descriptors.GROUP,
    ipc.GROUP,
    permitted.GROUP,
)


def probes() -> list[Probe]:
    """Return all probes, in the order in which they are tried."""
    return [probe for group in GROUPS for probe in group.probes]


def reports(stage: Stage, chosen: Iterable[Probe]) -> Iterator[dict[str, Any]]:
    """Try the probes one after the other; outside, where they succeed, each in a process of its own."""
    outside = stage.tier == OUTSIDE
    for together, run in groupby(chosen, lambda probe: probe.traceless and not outside):
        batch = list(run)
        untried = [probe.untried(stage) for probe in batch]
        attempts = [partial(probe.attempt, stage) for probe, why in zip(batch, untried, strict=True) if not why]
        some = [attempts] if together else [[attempt] for attempt in attempts]
        outcomes = chain.from_iterable(in_children(those, outside=outside) for those in some)
        for probe, why in zip(batch, untried, strict=True):
            yield probe.report(stage, why, *(() if why else next(outcomes)))


def main(arguments: list[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", required=True, choices=("full", "rootless", "reduced", OUTSIDE))
    parser.add_argument("--container", default="", help="the engine, where the sandbox is a container")
    parser.add_argument(
        "--image", action="store_true", help="the root directory is an image's, and nothing of the host's"
    )
    parser.add_argument("--stage", default="{}", help="what stands outside, as JSON")
    options = parser.parse_args(arguments)
    if options.tier == OUTSIDE:
        enter()
    count = 0
    stage = Stage(options.tier, json.loads(options.stage), options.container, options.image)
    for report in reports(stage, probes()):
        print(json.dumps(report), flush=True)
        count += 1
    print(json.dumps({"tried": count}), flush=True)
    return 0
