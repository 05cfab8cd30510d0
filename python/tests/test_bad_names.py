"""Names that cannot be seen, that look like others or that are paths are refused where they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from manta._errors import AuthoringError
from manta.apis import Module, Swarm, Task

MODULE = Module("published", version="1.0.0")

NAMES: dict[str, Any] = {
    "nothing": "",
    "a space": " ",
    "a space at the end": "worker ",
    "a hard space at the end": "worker\u00a0",
    "NUL": "a\0b",
    "a line end": "a\nb",
    "an escape": "a\x1b[31mb",
    "a C1 control": "a\x85b",
    "a right-to-left override": "a\u202eb",
    "an embedding": "a\u202ab",
    "an isolate": "a\u2066b",
    "an Arabic letter mark": "a\u061cb",
    "a zero-width space": "a\u200bb",
    "a soft hyphen": "a\u00adb",
    "a byte order mark": "\ufeffa",
    "a line separator": "a\u2028b",
    "an invisible tag": "a\U000e0041b",
    "half a surrogate": "a\ud800b",
    "a decomposed accent": "cafe\u0301",
    "the Angstrom sign": "\u212b",
    "256 bytes": "x" * 256,
    "10 MB": "x" * (10 << 20),
    "a number": 7,
    "a list": ["worker"],
    "a bool": True,
}
PLACES: dict[str, Callable[[Any], object]] = {
    "a swarm": lambda name: Swarm(name=name),
    "a global": lambda name: Swarm().set_global(name, 1),
    "an alias": lambda name: Task(MODULE, alias=name),
    "a label": lambda name: Task(MODULE, labels={name: "x"} if isinstance(name, str) else name),
    "a label's value": lambda name: Task(MODULE, labels={"site": name}),
    "a dataset": lambda name: Module("published", version="1.0.0", datasets=[name]),
    "a module": lambda name: Module("published", version="1.0.0", name=name),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_name_that_nobody_could_read_is_refused(place: Callable[[Any], object], name: Any) -> None:
    with pytest.raises(AuthoringError) as refusal:
        place(name)
    sentence = str(refusal.value)
    assert len(sentence) < 1000 and "\n" not in sentence.splitlines()[0]
    assert not any(char in sentence for char in "\0\x1b\u202e\u202a\u2066\u061c\u200b\ufeff\u2028")


@pytest.mark.parametrize("name", ["a/b", "../worker", "/etc/passwd", "a\\b", ".", ".."])
@pytest.mark.parametrize("place", ["an alias", "a module"])
def test_a_name_that_is_a_path_is_refused(place: str, name: str) -> None:
    with pytest.raises(AuthoringError, match="slashes"):
        PLACES[place](name)


@pytest.mark.parametrize("name", ["worker", "Été 3", "重み", "a b", "x" * 255])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_readable_name_is_kept(place: Callable[[Any], object], name: str) -> None:
    place(name)
