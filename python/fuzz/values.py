"""Gives damaged and invented values to the decoder, for as long as it is told.

    cargo xtask fuzz values [--seconds 60] [--inputs N] [--corpus DIR] [--seed N] [--json]

Each input is made of one that is known: bytes are changed, or the header's tree is, with buffers placed anew so that
the reader gets past the frame. It has to end in a value or in a ``ValueError``, within a second of work, without much
memory; a value has to survive the way out and back. An input that ends in a way not seen before is kept, and others are
made of it. The corpus, the count and what was found stay in ``DIR``: the next run goes on there. A child does the work,
so that its crash is a finding, too. The exit code is 1 where anything was found, then or before.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import hashlib
import json
import mmap
import os
import random
import re
import resource
import signal
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manta.light._values import Encoded, _read, decode, encode

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "tests" / "fixtures" / "values"
KEPT = ROOT / "tests" / "fixtures" / "fuzz" / "values.zip"
INPUT_BYTES_MAX = 1 << 20
SECONDS_MAX = 1.0
MEMORY_BYTES_MAX = 256 << 20
"""By which the process may grow over one input."""

ADDRESSES_BYTES_MAX = 8 << 30
CORPUS_MAX = 5000
CRASHES_MAX = 20

Tree = Any
DTYPES = ("<f4", "|b1", ">i8", "<U3", "|V5", "<M8[ns]", "|S0", "bfloat16", "|V999999999", "<f3", "O", "", "<U999999999")
NUMBERS = (0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**63, 10**30, 0.5, 1e308, -0.0)
TEXTS = (
    "",
    "nan",
    "inf",
    "nan:7ff8000000000001",
    "0x1",
    "-0x8000000000000001",
    "2026-01-01",
    "00",
    "\\ud800",
    "é",
    "$",
)


class Slow(Exception):
    """An input took longer than a second."""


def seeds() -> Iterator[bytes]:
    """Yield the vectors, what earlier runs kept, and a value of each further kind that is installed here."""
    for path in sorted(SEEDS.glob("*.value")):
        yield path.read_bytes()
    if KEPT.is_file():
        with zipfile.ZipFile(KEPT) as archive:
            yield from (archive.read(name) for name in sorted(archive.namelist()))
    for make in (_arrow, _frame, _tensor):
        try:
            yield encode(make()).to_bytes()
        except ImportError:
            continue
    stamp = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    yield encode([stamp, {1: (2, {3})}, collections.OrderedDict(a=b"b"), 2**70, 1j]).to_bytes()


def _arrow() -> Any:
    import pyarrow

    return pyarrow.table({"a": [1, None], "b": ["x", "y"], "c": [[1], [2, 3]]})


def _frame() -> Any:
    import pandas

    return pandas.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})


def _tensor() -> Any:
    import torch

    return torch.ones(2, 3)


class Maker:
    """Makes inputs out of a corpus, the same ones for the same seed."""

    def __init__(self, corpus: list[bytes], seed: int) -> None:
        self.corpus, self.rng = corpus, random.Random(seed)

    def one(self) -> bytes:
        """Return one input."""
        rng = self.rng
        base = rng.choice(self.corpus)
        made = self._tree(base) if rng.random() < 0.7 else None
        if made is None:
            made = self._bytes(base)
        return made[:INPUT_BYTES_MAX]

    def _bytes(self, base: bytes) -> bytes:
        rng, data = self.rng, bytearray(base)
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            at, what = rng.randrange(len(data) + 1), rng.randrange(6)
            if what == 0 and at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            elif what == 1 and at < len(data):
                data[at] = rng.randrange(256)
            elif what == 2:
                del data[at : at + rng.choice((1, 2, 8, 64, 10**6))]
            elif what == 3:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            elif what == 4 and at + 8 <= len(data):
                data[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, len(data), 2**31, 2**32 - 1, 2**63, 2**64 - 1)))
            else:
                other = rng.choice(self.corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
        return bytes(data)

    def _tree(self, base: bytes) -> bytes | None:
        """Change the header's tree and lay the buffers out anew; None where the base has no such header."""
        try:
            length = struct.unpack_from("<Q", base, 16)[0]
            header = json.loads(base[24 : 24 + length])
            buffers = [memoryview(base)[start : start + size] for start, size in header["buffers"]]
            tree = header["tree"]
        except (ValueError, KeyError, TypeError, struct.error, RecursionError):
            return None
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2, 3))):
            tree = self._changed(tree, rng.random(), 0)
        if rng.random() < 0.3 and buffers:
            number = rng.randrange(len(buffers))
            buffers[number] = memoryview(self._bytes(bytes(buffers[number])))
        if rng.random() < 0.1:
            buffers.append(memoryview(rng.randbytes(rng.choice((0, 1, 8, 64)))))
        try:
            return Encoded(tree, buffers).to_bytes()
        except (ValueError, TypeError, RecursionError):
            return None

    def _changed(self, tree: Tree, where: float, depth: int) -> Tree:
        """Return the tree with one place in it changed, which `where` leads to."""
        rng = self.rng
        if depth > 60 or not isinstance(tree, (dict, list)) or not tree or where < 0.25:
            return self._invented(tree)
        where = (where - 0.25) / 0.75
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = self._changed(tree[key], where, depth + 1)
        return copy

    def _invented(self, old: Tree) -> Tree:
        rng = self.rng
        makes: tuple[Callable[[], Tree], ...] = (
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(TEXTS),
            lambda: rng.choice((None, True, False, [], {}, [[]])),
            lambda: {"$": rng.choice(list(_read._READERS)), "v": old},
            lambda: {"$": rng.choice(list(_read._READERS)), "b": rng.choice((0, 1, -1, 10**9))},
            lambda: {"$": rng.choice(("ndarray", "tensor")), "dtype": self._dtype(0), "shape": self._shape(), "b": 0},
            lambda: {"$": "npscalar", "dtype": self._dtype(0), "hex": rng.choice(("00" * 4, "", "0", "zz", "00" * 8))},
            lambda: [old] * rng.choice((0, 2, 3)),
            lambda: {"$": "dict", "v": [[old, old], [rng.choice(NUMBERS), old]]},
            lambda: self._nested(rng.choice((2, 63, 64, 65, 200))),
            lambda: self._dtype(0),
        )
        return rng.choice(makes)()

    def _nested(self, depth: int) -> Tree:
        tree: Tree = 0
        for _ in range(depth):
            tree = [tree] if self.rng.random() < 0.5 else {"$": "tuple", "v": [tree]}
        return tree

    def _shape(self) -> Tree:
        return [self.rng.choice((0, 1, 2, 3, 2**31, 2**62, -1, True)) for _ in range(self.rng.choice((0, 1, 2, 3, 65)))]

    def _dtype(self, depth: int) -> Tree:
        rng = self.rng
        if depth > 9 or rng.random() < 0.6:
            return rng.choice(DTYPES)
        if rng.random() < 0.5:
            return {"base": self._dtype(depth + 1), "shape": self._shape()}
        count = rng.choice((0, 1, 2))
        return {
            "names": [rng.choice(("a", "b", "", "a" * 300)) for _ in range(count)],
            "formats": [self._dtype(depth + 1) for _ in range(count)],
            "offsets": [rng.choice((0, 1, 4, 2**31, 2**62)) for _ in range(count)],
            "itemsize": rng.choice((0, 1, 8, 2**31 - 1, 2**40)),
        }


def ending(data: bytes) -> tuple[str, str | None]:
    """Return in which way an input ends, and what is wrong with that, if anything is."""
    grown, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        way, wrong = _decoded(data)
    except Slow:
        way, wrong = "slow", f"it took more than {2 * SECONDS_MAX} s"
    except Exception as error:
        way = wrong = f"{type(error).__name__}: {error}"
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) * 1024
    if more > MEMORY_BYTES_MAX:
        way, wrong = "memory", f"it took {more >> 20} MiB"
    if wrong is None and time.process_time() - begun > SECONDS_MAX:
        way, wrong = "slow", f"it took {time.process_time() - begun:.1f} s"
    return way, wrong


def _decoded(data: bytes) -> tuple[str, str | None]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS_MAX * 2)
    try:
        try:
            value = decode(data)
        except ValueError as error:
            plain = re.sub(r"'[^']*'?|`[^`]*`?|\"[^\"]*\"?", "", str(error))
            return " ".join(re.findall(r"\b[a-z]{3,}\b", plain)[:7]), None
        first = encode(value).to_bytes()
        second = encode(decode(first)).to_bytes()
        if first != second and b'"dataframe"' in first:
            # A missing number of a DataFrame is NaN of whatever payload, which pandas and Arrow do not keep.
            first, second = second, encode(decode(second)).to_bytes()
        wrong = None if first == second else "it does not survive the way out and back"
        return f"value {_shape_of(value)}", wrong
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _shape_of(value: Any, depth: int = 0) -> str:
    """Return of which type a value is, and a first entry of it, as far as that tells ways through the decoder apart."""
    kind, inner = type(value).__name__, value.values() if isinstance(value, dict) else value
    if depth < 2 and isinstance(value, (dict, list, tuple, set, frozenset)):
        return f"{kind}({_shape_of(next(iter(inner), None), depth + 1)})"
    return f"{kind}{getattr(value, 'dtype', '')!s:.8}"


class Run:
    """One run over a corpus that is kept in a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("corpus", "found"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.state_file = folder / "state.json"
        self.state: dict[str, Any] = {"inputs": 0, "seconds": 0.0, "cpu_seconds": 0.0, "ways": []}
        if self.state_file.is_file():
            self.state |= json.loads(self.state_file.read_text())

    def corpus(self) -> list[bytes]:
        """Return all inputs that are kept, seeds first."""
        return [*seeds(), *(path.read_bytes() for path in sorted((self.folder / "corpus").iterdir()))]

    def found(self) -> list[Path]:
        """Return the inputs that ended as none may."""
        return sorted((self.folder / "found").glob("*.value"))

    def keep(self, part: str, data: bytes, why: str = "") -> None:
        """Keep an input; one that was found with the reason beside it."""
        path = self.folder / part / f"{hashlib.sha256(data).hexdigest()[:24]}.value"
        path.write_bytes(data)
        if why:
            path.with_suffix(".txt").write_text(why + "\n")

    def work(self, seed: int, seconds: float, inputs_max: int, current: mmap.mmap) -> None:
        """Try inputs until the time or the number is up; `current` always holds the one that is being tried."""
        before, kept, ways = self.state["inputs"], self.corpus(), set(self.state["ways"])
        begun = time.monotonic(), time.process_time()  # libraries are loaded by now
        until = begun[0] + seconds
        maker = Maker(kept, seed)
        for data in list(kept) if not before else []:
            self._try(data, ways, kept, current, is_new=False)
        while time.monotonic() < until and self.state["inputs"] < inputs_max:
            for _ in range(100):
                self._try(maker.one(), ways, kept, current, is_new=True)
            begun = self._save(ways, begun)
        self._save(ways, begun)

    def _try(self, data: bytes, ways: set[str], kept: list[bytes], current: mmap.mmap, *, is_new: bool) -> None:
        current[: 8 + len(data)] = struct.pack("<Q", len(data)) + data
        way, wrong = ending(data)
        self.state["inputs"] += 1
        if wrong is not None:
            self.keep("found", data, wrong)
        elif way not in ways and len(kept) < CORPUS_MAX:
            ways.add(way)
            if is_new:
                kept.append(data)
                self.keep("corpus", data)

    def _save(self, ways: set[str], begun: tuple[float, float]) -> tuple[float, float]:
        now = time.monotonic(), time.process_time()
        self.state["ways"] = sorted(ways)
        for name, before, after in zip(("seconds", "cpu_seconds"), begun, now):
            self.state[name] = round(self.state[name] + after - before, 3)
        fresh = self.state_file.with_suffix(".new")
        fresh.write_text(json.dumps(self.state))
        fresh.replace(self.state_file)
        return now


def in_child(run: Run, seed: int, seconds: float, inputs_max: int) -> bool:
    """Let a child work to its end; return False where it crashed, and keep the input that it died of."""
    current = mmap.mmap(-1, INPUT_BYTES_MAX + 4096)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGPROF, _too_slow)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES_MAX, ADDRESSES_BYTES_MAX))
        try:
            run.work(seed, seconds, inputs_max, current)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return True
    (length,) = struct.unpack_from("<Q", current)
    run.keep("found", current[8 : 8 + length], f"the process ended with {status}")
    return False


def _too_slow(number: int, frame: Any) -> None:
    raise Slow


def pack(run: Run, target: Path) -> None:
    """Write the corpus into one archive, the same bytes for the same corpus."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((run.folder / "corpus").iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)


def main(arguments: list[str] | None = None) -> int:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(prog="cargo xtask fuzz values")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long this run lasts")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="of all runs over this corpus, at most")
    parser.add_argument("--corpus", type=Path, default=ROOT / "target" / "fuzz" / "values")
    parser.add_argument("--seed", type=int, help="what inputs are made from; another one in each run, where left out")
    parser.add_argument("--pack", action="store_true", help="write the corpus into tests/fixtures/fuzz, at the end")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    crashes, before = 0, Run(options.corpus).state["seconds"]
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    while True:
        run = Run(options.corpus)
        left = before + options.seconds - run.state["seconds"]
        if crashes > CRASHES_MAX or in_child(run, seed + crashes, left, options.inputs):
            break
        crashes += 1
    run = Run(options.corpus)
    if options.pack:
        pack(run, KEPT)
    found = [(path, path.with_suffix(".txt").read_text().strip()) for path in run.found()]
    told = {
        "seed": seed,
        "inputs": run.state["inputs"],
        "seconds": run.state["seconds"],
        "cpu_seconds": run.state["cpu_seconds"],
        "ways": len(run.state["ways"]),
        "corpus": len(run.corpus()),
        "found": {str(path): why for path, why in found},
    }
    if options.json:
        print(json.dumps(told))
    else:
        print(f"{told['inputs']} inputs in {told['seconds']:.0f} s ended in {told['ways']} ways; seed {seed}")
        for path, why in found:
            print(f"found: {path}: {why}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
