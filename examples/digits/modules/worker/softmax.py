"""Multinomial logistic regression in plain numpy: the mathematics of the worker, and nothing of the platform.

A model is ``{"weights": (pixels, classes), "bias": (classes,)}``. Nothing here knows about nodes or swarms, so it
can be tested, and trained on pooled data, without either.
"""

import zlib
from typing import Any

import numpy as np

Model = dict[str, Any]

CLASSES = 10


def initial_model(pixels: int, classes: int = CLASSES) -> Model:
    """Return the model that knows nothing: it gives every class the same probability."""
    return {"weights": np.zeros((pixels, classes)), "bias": np.zeros(classes)}


def probabilities(model: Model, x: Any) -> Any:
    """Return the probability of each class for each row of ``x``, shape (rows, classes)."""
    scores = x @ model["weights"] + model["bias"]
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def loss(model: Model, x: Any, y: Any) -> float:
    """Return the mean cross entropy of ``model`` on the samples ``x`` with the labels ``y``."""
    likely = probabilities(model, x)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(likely, 1e-12)).mean())


def accuracy(model: Model, x: Any, y: Any) -> float:
    """Return the share of ``x`` that ``model`` labels as ``y`` does."""
    return float(np.mean(probabilities(model, x).argmax(axis=1) == y))


def shuffle_rng(seed: int, iteration: int, node: str) -> np.random.Generator:
    """Return the generator that orders a node's samples: the same for the same seed, iteration and node."""
    return np.random.default_rng([seed, iteration, zlib.crc32(node.encode())])


def train(
    model: Model, x: Any, y: Any, *, epochs: int, batch_size: int, rate: float, rng: np.random.Generator
) -> Model:
    """Return ``model`` after some epochs of mini-batch gradient descent; the given one is left alone.

    Parameters
    ----------
    model : dict of str to array
        Where to start.
    x, y : array
        Samples, shape (rows, pixels), and their labels, shape (rows,).
    epochs : int
        How often every sample is seen.
    batch_size : int
        Samples in one step.
    rate : float
        How far one step goes along the gradient.
    rng : numpy.random.Generator
        Orders the samples anew in every epoch.
    """
    weights, bias = model["weights"].copy(), model["bias"].copy()
    for _ in range(epochs):
        order = rng.permutation(len(y))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            error = probabilities({"weights": weights, "bias": bias}, x[batch])
            error[np.arange(len(batch)), y[batch]] -= 1.0
            weights -= rate * x[batch].T @ error / len(batch)
            bias -= rate * error.mean(axis=0)
    return {"weights": weights, "bias": bias}
