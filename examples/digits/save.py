"""Turns the swarm's trained model into an ordinary numpy file.

    python save.py MODEL.value OUT.npz

``MODEL.value`` is the global ``model`` as Manta stores it; ``OUT.npz`` gets the arrays ``weights`` (64, 10) and
``bias`` (10,), to be read back with ``numpy.load``. On a mistake it prints ``{"error": SENTENCE, "hint": SENTENCE}``
and exits with 4.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


class Refusal(Exception):
    """Something that the user can put right: what is wrong, and what to do."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.answer = {"error": error, "hint": hint}


def load_model(path: Path) -> dict[str, Any]:
    """Return the arrays of a stored model, by name."""
    try:
        import numpy as np
    except ImportError:
        hint = f"{sys.executable} -m pip install numpy"
        raise Refusal("numpy is not installed for this interpreter", hint) from None
    from manta.light import DataCorruptionError
    from manta.light.utils import bytes_to_dict

    hint = "give the file of the global `model`"
    try:
        model = bytes_to_dict(path.read_bytes())
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}", hint) from None
    except DataCorruptionError as error:
        raise Refusal(f"{path} is no stored model: {error}", hint) from None
    if not all(isinstance(array, np.ndarray) for array in model.values()):
        raise Refusal(f"{path} holds something other than arrays", hint)
    return model


def save(source: Path, out: Path) -> dict[str, Any]:
    """Write the model in ``source`` to ``out`` and return what is printed."""
    model = load_model(source)
    import numpy as np

    try:
        with open(out, "wb") as file:
            np.savez(file, **model)
    except OSError as error:
        raise Refusal(f"{out} cannot be written: {error.strerror}", "give another file") from None
    return {"model": str(out), "arrays": {name: list(array.shape) for name, array in model.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, metavar="MODEL.value", help="the global `model`, as stored")
    parser.add_argument("out", type=Path, metavar="OUT.npz", help="the file to write")
    chosen = parser.parse_args()
    try:
        answer = save(chosen.source, chosen.out)
    except Refusal as refusal:
        print(json.dumps(refusal.answer))
        return 4
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
