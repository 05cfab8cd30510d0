"""Measures values: carried, imported, averaged and read, beside what else there is, in one run.

    cargo xtask bench values [--json] [--megabytes 100] [--repeat 5]

Each time is the best of the repetitions; the forms take turns, so that a machine that slows down slows all of them.
Formats that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from manta.light._memory import open_value, seal_value
from manta.light._values import decode, encode
from manta.light.aggregation import weighted_average
from manta.light.task import Task
from manta.testing import run_task

MODELS = 10


def best(forms: Mapping[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Return the shortest time of each form in milliseconds."""
    times = {name: float("inf") for name in forms}
    for _ in range(repeat):
        for name, form in forms.items():
            begun = time.perf_counter()
            form()
            times[name] = min(times[name], (time.perf_counter() - begun) * 1000)
    return times


def carried(value: dict[str, Any], repeat: int) -> dict[str, dict[str, float]]:
    """Measure a dict of arrays to bytes and back."""
    writers: dict[str, Callable[[], bytes]] = {
        "manta": lambda: encode(value).to_bytes(),
        "numpy.savez": lambda: saved(lambda file: np.savez(file, **value)),
        "pickle 5": lambda: pickle.dumps(value, protocol=5),
    }
    readers: dict[str, Callable[[bytes], Any]] = {
        "manta": decode,
        "numpy.savez": lambda data: dict(np.load(io.BytesIO(data))),
        "pickle 5": pickle.loads,
    }
    if importlib.util.find_spec("msgpack"):
        import msgpack

        writers["msgpack + numpy.save"] = lambda: msgpack.packb(
            {name: saved(lambda file, a=array: np.save(file, a)) for name, array in value.items()}
        )
        readers["msgpack + numpy.save"] = lambda data: {
            name: np.load(io.BytesIO(part)) for name, part in msgpack.unpackb(data, max_bin_len=len(data)).items()
        }
    if importlib.util.find_spec("safetensors"):
        from safetensors import numpy as safe

        writers["safetensors"], readers["safetensors"] = (lambda: safe.save(value)), safe.load
    written = {name: writer() for name, writer in writers.items()}
    return {
        "encode_ms": best(writers, repeat),
        "decode_ms": best({name: lambda n=name: readers[n](written[n]) for name in readers}, repeat),
    }


def saved(save: Callable[[io.BytesIO], None]) -> bytes:
    """Return what a function writes to a file."""
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def handed_over(size: int, repeat: int) -> dict[str, float]:
    """Measure what a task waits for one array: mapped from sealed memory, or copied through a socket."""
    import socket
    import threading

    array = np.ones(size // 4, np.float32)
    sealed = seal_value(array, "array")

    def copied() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            sender = threading.Thread(target=ours.sendall, args=(array.data,))
            sender.start()
            room, view = np.empty_like(array), 0
            data = memoryview(room).cast("B")
            while view < len(data):
                view += theirs.recv_into(data[view:])
            sender.join()

    try:
        return best({"manta": lambda: open_value(os.dup(sealed), "array"), "socket copy": copied}, repeat)
    finally:
        os.close(sealed)


def imported(repeat: int) -> dict[str, float]:
    """Measure a new interpreter that imports one module, less one that imports nothing."""

    def start(code: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    forms = {"nothing": "", "json": "import json", "manta.light": "import manta.light"}
    times = best({name: start(code) for name, code in forms.items()}, max(repeat, 10))
    return {name: times[name] - times["nothing"] for name in ("json", "manta.light")}


def averaged(size: int, repeat: int) -> dict[str, float]:
    """Measure the weighted mean of ten mapped models."""
    weights = np.arange(1, MODELS + 1, dtype=np.float32)
    shares = weights / weights.sum()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        paths = [os.path.join(folder, f"{number}.npy") for number in range(MODELS)]
        for number, path in enumerate(paths):
            np.save(path, np.full(size // 4, number, np.float32))
        models = [np.load(path, mmap_mode="r") for path in paths]

        def blocked() -> Any:
            out, step = np.empty_like(models[0]), 65536
            scratch = np.empty(step, np.float32)
            for begin in range(0, len(out), step):
                part = out[begin : begin + step]
                np.multiply(models[0][begin : begin + step], shares[0], out=part)
                for model, share in zip(models[1:], shares[1:], strict=True):
                    room = scratch[: len(part)]
                    np.multiply(model[begin : begin + step], share, out=room)
                    part += room
            return out

        forms = {
            "manta": lambda: weighted_average(models, weights),
            "numpy, cache-blocked": blocked,
            "np.mean": lambda: np.mean(models, axis=0),
            "np.average": lambda: np.average(models, axis=0, weights=weights),
            "reading alone": lambda: [model.max() for model in models],
        }
        np.testing.assert_allclose(forms["manta"](), blocked(), rtol=1e-5)
        return best(forms, repeat)


class ReadsGlobal(Task):
    """Reads a small global many times, and publishes what one read takes."""

    def run(self) -> None:
        """Measure."""
        self.world.results.add("read", best({"globals[...]": lambda: self.world.globals["rate"]}, 300))


def aims(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what was aimed at, what was found, and whether that is as good."""
    mean = report[f"mean_of_{MODELS}_ms"]
    rows = {
        "an array of this size from agent to task, ms": (report["array_to_task_ms"]["manta"], "<= 1.0"),
        "import manta.light, ms": (report["import_ms"]["manta.light"], "<= 40.0"),
        "a small global read in a task, ms": (report["global_read_ms"]["globals[...]"], "<= 0.3"),
        "weighted mean, share of cache-blocked numpy's speed": (
            mean["numpy, cache-blocked"] / mean["manta"],
            ">= 0.95",
        ),
    }
    found = {}
    for name, (value, aim) in rows.items():
        relation, limit = aim.split()
        met = value <= float(limit) if relation == "<=" else value >= float(limit)
        found[name] = {"found": round(value, 4), "aim": aim, "met": met}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="cargo xtask bench values")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    parts = {f"layer {number}": np.random.default_rng(number).random(size // 40, np.float32) for number in range(10)}
    report: dict[str, Any] = {"megabytes": options.megabytes, **carried(parts, options.repeat)}
    del parts
    report["array_to_task_ms"] = handed_over(size, options.repeat)
    report["import_ms"] = imported(options.repeat)
    report[f"mean_of_{MODELS}_ms"] = averaged(size, options.repeat)
    report["global_read_ms"] = run_task(ReadsGlobal, globals={"rate": 0.1}).results["read"]
    report["read_bandwidth"] = {"GB/s": MODELS * size / report[f"mean_of_{MODELS}_ms"]["reading alone"] / 1e6}
    report["aims"] = aims(report)
    if options.json:
        print(json.dumps(report))
        return
    for name, times in report.items():
        if isinstance(times, dict) and name != "aims":
            print(name)
            for form, took in times.items():
                print(f"  {form:<24}{took:10.3f}")
    for name, aim in report["aims"].items():
        print(f"{name:<52}{aim['found']:10.3f}  aim {aim['aim']:<8}{'met' if aim['met'] else 'MISSED'}")
    absent = [name for name in ("msgpack", "safetensors") if importlib.util.find_spec(name) is None]
    if absent:
        print(f"not installed, and left out: {', '.join(absent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
