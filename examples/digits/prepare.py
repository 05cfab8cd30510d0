"""Cuts the UCI handwritten digits into one shard a node, and trains the same model on all of them for comparison.

    python prepare.py --out DIR [--digits digits.csv.gz] [--nodes 5] [--seed 1]

Reads scikit-learn's ``digits.csv.gz`` (64 pixels of 0 to 16 and a label a line) without scikit-learn; where that is
installed, its file is found. A fifth of every digit is held out; then each node gets most of the digits that are its
own and a few of all the others, so that four fifths of what it has shows its own two. Writes ``DIR/node-1.npz``, …
with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``, and prints a JSON object a line, the second one
when the model is trained; nodes that begin meanwhile go first:

    {"shards": {"node-1": PATH, …}, "samples": 1797}
    {"central_accuracy": 0.96}

The same input gives the same bytes. On a mistake it prints ``{"error": SENTENCE, "hint": SENTENCE}`` and exits
with 4.
"""

import argparse
import gzip
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

HELD_OUT = 0.2
OWN_SHARE = 0.8
PIXELS = 64
CENTRAL_EPOCHS = 50


class Refusal(Exception):
    """Something that the user can put right: what is wrong, and what to do."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.answer = {"error": error, "hint": hint}


def installed_digits() -> Path:
    """Return the file in the scikit-learn of this interpreter."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        hint = "give scikit-learn's file sklearn/datasets/data/digits.csv.gz with --digits, or install scikit-learn"
        raise Refusal("no --digits is given, and scikit-learn is not installed for this interpreter", hint)
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"


def read_digits(path: Path) -> tuple[Any, Any]:
    """Return the pixels of ``digits.csv.gz``, shape (rows, 64), and the labels, shape (rows,)."""
    hint = "give the file sklearn/datasets/data/digits.csv.gz of scikit-learn"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", ndmin=2)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refusal(f"the digits cannot be read from {path}: {reason}", hint) from None
    except ValueError as error:
        raise Refusal(f"{path} is no table of numbers: {error}", hint) from None
    if table.shape[1] != PIXELS + 1 or not np.isin(table[:, PIXELS], range(10)).all():
        raise Refusal(f"{path} does not hold 64 pixels and a label of 0 to 9 a line", hint)
    return table[:, :PIXELS], table[:, PIXELS].astype(np.int64)


def even_contrast(pixels: Any) -> Any:
    """Return each image with mean 0 and variance 1, whatever pen drew it. Needs no other image, so no other node."""
    spread = pixels.std(axis=1, keepdims=True)
    return (pixels - pixels.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)


def split_held_out(labels: Any, rng: Any) -> tuple[Any, Any]:
    """Return the rows to train on and the rows held out: the same share of every digit."""
    train, test = [], []
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(labels == digit))
        cut = round(len(rows) * HELD_OUT)
        test.append(rows[:cut])
        train.append(rows[cut:])
    return np.concatenate(train), np.concatenate(test)


def divide(rows: Any, labels: Any, nodes: int, rng: Any) -> list[Any]:
    """Divide ``rows`` over the nodes: most of each digit to the node that owns it, the rest evenly to the others."""
    parts: list[list[Any]] = [[] for _ in range(nodes)]
    for owner, digits in enumerate(np.array_split(np.arange(10), nodes)):
        for digit in digits:
            of_digit = rng.permutation(rows[labels[rows] == digit])
            cut = round(len(of_digit) * OWN_SHARE) if nodes > 1 else len(of_digit)
            parts[owner].append(of_digit[:cut])
            others = [node for node in range(nodes) if node != owner]
            for node, share in zip(rng.permutation(others), np.array_split(of_digit[cut:], max(len(others), 1))):
                parts[node].append(share)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def write_shards(
    directory: Path, pixels: Any, labels: Any, train: Any, test: Any, nodes: int, rng: Any
) -> dict[str, str]:
    """Write one ``.npz`` a node and return their paths by the node's name."""
    shards = {}
    for index, (mine, held_out) in enumerate(
        zip(divide(train, labels, nodes, rng), divide(test, labels, nodes, rng)), start=1
    ):
        path = directory / f"node-{index}.npz"
        np.savez(path, x_train=pixels[mine], y_train=labels[mine], x_test=pixels[held_out], y_test=labels[held_out])
        shards[f"node-{index}"] = str(path)
    return shards


def central_accuracy(pixels: Any, labels: Any, train: Any, test: Any, seed: int) -> float:
    """Train the worker's model on all training data in one place and return its held-out accuracy."""
    sys.path.append(str(Path(__file__).resolve().parent / "modules" / "worker"))
    import softmax  # type: ignore[import-not-found]  # lies beside, as on a node

    model = softmax.train(
        softmax.initial_model(PIXELS),
        pixels[train],
        labels[train],
        epochs=CENTRAL_EPOCHS,
        batch_size=32,
        rate=0.5,
        rng=softmax.shuffle_rng(seed, 0, "central"),
    )
    return float(softmax.accuracy(model, pixels[test], labels[test]))


def prepare(digits: Path | None, out: Path, nodes: int, seed: int) -> Iterator[dict[str, Any]]:
    """Do it all and yield what is printed."""
    if np is None:
        raise Refusal("numpy is not installed for this interpreter", f"{sys.executable} -m pip install numpy")
    if not 1 <= nodes <= 10:
        raise Refusal(f"--nodes is {nodes}", "take 1 to 10 nodes: each needs a digit of its own")
    if seed < 0:
        raise Refusal(f"--seed is {seed}", "take 0 or more")
    pixels, labels = read_digits(digits or installed_digits())
    pixels = even_contrast(pixels)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "give another one with --out"
        raise Refusal(f"the directory {out} cannot be made: {error.strerror}", hint) from None
    rng = np.random.default_rng(seed)
    train, test = split_held_out(labels, rng)
    shards = write_shards(out.resolve(), pixels, labels, train, test, nodes, rng)
    yield {"shards": shards, "samples": len(labels)}
    os.nice(10)
    yield {"central_accuracy": central_accuracy(pixels, labels, train, test, seed)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--digits", type=Path, help="scikit-learn's digits.csv.gz; default: that of the one installed")
    parser.add_argument("--out", type=Path, required=True, help="directory for the shards")
    parser.add_argument("--nodes", type=int, default=5, help="number of shards, 1 to 10")
    parser.add_argument("--seed", type=int, default=1, help="of every random choice")
    chosen = parser.parse_args()
    try:
        for answer in prepare(chosen.digits, chosen.out, chosen.nodes, chosen.seed):
            print(json.dumps(answer), flush=True)
    except Refusal as refusal:
        print(json.dumps(refusal.answer))
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
