"""The committed vectors of the value format are read and written as they were when it was fixed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manta.light._values import decode, encode

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "tests" / "fixtures" / "values"
VECTORS: list[dict[str, Any]] = json.loads((DIRECTORY / "vectors.json").read_text(encoding="utf-8"))["vectors"]
VALID = [vector for vector in VECTORS if "python" in vector]
REFUSED = [vector for vector in VECTORS if "refused" in vector]


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_vectors = load("make_vectors")


def shown(value: Any) -> str:
    """Return a text that differs where values or their types do."""
    if isinstance(value, np.ndarray):
        return f"array({value.dtype.str}, {value.dtype.descr}, {value.shape}, {value.tobytes().hex()})"
    if isinstance(value, np.generic):
        return f"scalar({value.dtype.str}, {value.tobytes().hex()})"
    if isinstance(value, dict):
        return f"{type(value).__name__}({', '.join(f'{shown(k)}: {shown(v)}' for k, v in value.items())})"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({sorted(map(shown, value))})"
    return f"{type(value).__name__}({value!r})"


def test_every_file_is_listed_and_is_the_one_that_was_committed() -> None:
    assert {vector["file"] for vector in VECTORS} == {path.name for path in DIRECTORY.glob("*.value")}
    for vector in VECTORS:
        data = (DIRECTORY / vector["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (vector["bytes"], vector["sha256"]), vector["file"]


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["file"])
def test_a_vector_reads_as_its_value(vector: dict[str, Any]) -> None:
    value = make_vectors.value_of(vector["python"])
    assert shown(decode((DIRECTORY / vector["file"]).read_bytes())) == shown(value)


@pytest.mark.skipif(sys.byteorder == "big", reason="arrays of the native order have other bytes there")
@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["file"])
def test_a_value_is_written_as_its_vector(vector: dict[str, Any]) -> None:
    value = make_vectors.value_of(vector["python"])
    assert encode(value).to_bytes() == (DIRECTORY / vector["file"]).read_bytes()


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["file"])
def test_a_spoilt_vector_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(vector["refused"])):
        decode((DIRECTORY / vector["file"]).read_bytes())


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["file"])
def test_the_reader_in_the_documentation_reads_every_vector(vector: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "reference" / "values.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    value = make_vectors.value_of(vector["python"])
    assert shown(names["read"]((DIRECTORY / vector["file"]).read_bytes())) == shown(value)
