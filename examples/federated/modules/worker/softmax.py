"""A linear classifier of ten digits, in plain numpy."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Model = dict[str, Any]
Correction = Callable[[Model], Model]


def probabilities(model: Model, x: Any) -> Any:
    scores = x @ model["weights"] + model["bias"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def accuracy(model: Model, x: Any, y: Any) -> float:
    """Return the share of ``x`` that the model reads as ``y``."""
    return float(np.mean(probabilities(model, x).argmax(axis=1) == y))


def shuffle_rng(seed: int, iteration: int, node: str) -> np.random.Generator:
    """Return the generator that orders a node's samples: the same for the same seed, iteration and node."""
    return np.random.default_rng([seed, iteration, zlib.crc32(node.encode())])


def descend(
    model: Model,
    x: Any,
    y: Any,
    epochs: int,
    rate: float,
    rng: np.random.Generator,
    correction: Correction | None = None,
) -> Model:
    """Return the model after some epochs of mini-batches of 32; ``correction`` adds to each gradient."""
    model = {name: array.copy() for name, array in model.items()}
    for _ in range(epochs):
        order = rng.permutation(len(y))
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            error = probabilities(model, x[batch])
            error[np.arange(len(batch)), y[batch]] -= 1.0
            gradient = {"weights": x[batch].T @ error / len(batch), "bias": error.mean(axis=0)}
            more = correction(model) if correction else dict.fromkeys(gradient, 0.0)
            for name, step in gradient.items():
                model[name] -= rate * (step + more[name])
    return model
