"""Writes the test vectors of the value format into ``tests/fixtures/values``."""

from __future__ import annotations

import collections
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from manta.light._values import encode

DIRECTORY = Path(__file__).parents[2] / "tests" / "fixtures" / "values"

NAMES = {"np": np, "datetime": datetime, "collections": collections}
"""What the expressions may name."""

VALID = {
    "none": "None",
    "booleans": "[True, False]",
    "ints": "[0, -1, 2**63 - 1, -2**63]",
    "big_ints": "[2**63, -2**63 - 1, 2**200]",
    "floats": "[0.0, -0.0, 1.0, 0.1, 1e300, 5e-324]",
    "special_floats": "{'nan': float('nan'), 'inf': [float('inf'), float('-inf')]}",
    "complex": "complex(1.5, float('-inf'))",
    "text": "['', 'plain', 'naïve ☃ 😀', 'quote \" and \\\\ and \\0']",
    "long_text": "'é' * 40_000",
    "bytes": "[b'', b'abc', bytes(range(256))]",
    "list_of_floats": "[n / 4 for n in range(2000)]",
    "list_of_ints": "list(range(-1000, 1000))",
    "containers": "{'list': [1, [2]], 'tuple': (1, (2,)), 'dict': {'a': {}}, 'empty': [(), {}, []]}",
    "sets": "[{1, 2, 3}, frozenset({'a', 'b'}), set()]",
    "odd_keys": "{1: 'int', 2.5: 'float', None: 'none', b'x': 'bytes', 'x': 'str'}",
    "dollar_key": "{'$': 'int', 'v': '12'}",
    "ordered_dict": "collections.OrderedDict([('b', 1), ('a', 2)])",
    "dates": "[datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 1, 5), datetime.timedelta(-1, 2, 3)]",
    "zoned_dates": "datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30)))",
    "array_float32": "np.arange(12, dtype='<f4').reshape(3, 4)",
    "array_scalar": "np.array(7, dtype='<i8')",
    "array_empty": "np.empty((0, 3), dtype='<f8')",
    "array_bool": "np.array([[True], [False]])",
    "array_big_endian": "np.arange(3, dtype='>i4')",
    "array_text": "np.array(['a', 'bcd'], dtype='<U3')",
    "array_dates": "np.array(['2024-01-01', 'NaT'], dtype='<M8[D]')",
    "array_complex": "np.array([1 + 2j], dtype='<c16')",
    "array_structured": "np.array([(1, [2.0, 3.0])], dtype=[('a', '<i2'), ('b', '<f8', (2,))])",
    "numpy_scalars": "[np.float32(0.1), np.int8(-1), np.bool_(True), np.str_('é'), np.bytes_(b'x')]",
    "model": "{'layers': [{'w': np.ones((2, 3), '<f4'), 'b': np.zeros(3, '<f4')}], 'rows': 60_000, 'loss': 0.25}",
}

INVALID = {
    "wrong_magic": ("the magic number is missing", lambda raw: b"PICKLE!!" + raw[8:]),
    "newer_version": ("version 2", lambda raw: raw[:8] + b"\x02" + raw[9:]),
    "cut_short": ("length", lambda raw: raw[:-1]),
    "trailing_byte": ("length", lambda raw: raw + b"\0"),
    "header_too_long": ("too long", lambda raw: raw[:16] + (2**40).to_bytes(8, "little") + raw[24:]),
    "unknown_tag": ("unknown tag", lambda raw: raw.replace(b'"$":"ndarray"', b'"$":"ndfoooo"')),
    "object_dtype": ("dtype", lambda raw: raw.replace(b'"dtype":"<f8"', b'"dtype":"|O8"')),
    "wrong_shape": ("shape", lambda raw: raw.replace(b'"shape":[4]', b'"shape":[5]')),
    "buffer_out_of_range": ("not there", lambda raw: raw.replace(b'"b":0', b'"b":7')),
    "buffer_misplaced": ("multiples of 64", lambda raw: raw.replace(b"[[128,32]]", b"[[120,32]]")),
    "buffer_unused": ("no entry", lambda raw: raw.replace(b'"$":"ndarray"', b'"x":"ndarray"')),
    "padding_not_zero": ("padding", lambda raw: raw[:127] + b"\x01" + raw[128:]),
}
"""Name to the reason told and a way to spoil the value of four float64 zeros."""


def value_of(expression: str) -> Any:
    """Return the value of one of the expressions above."""
    return eval(expression, {"__builtins__": __builtins__, **NAMES})


def vectors() -> dict[str, bytes]:
    """Return each vector's bytes by its name."""
    made = {name: encode(value_of(expression)).to_bytes() for name, expression in VALID.items()}
    sound = encode(np.zeros(4, dtype="<f8")).to_bytes()
    for name, (_, spoil) in INVALID.items():
        made[f"bad_{name}"] = spoil(sound)
        assert made[f"bad_{name}"] != sound, name
    return made


def described() -> list[dict[str, Any]]:
    """Return the entries of ``vectors.json``."""
    entries = []
    for name, data in vectors().items():
        entry: dict[str, Any] = {
            "file": f"{name}.value",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        if name in VALID:
            entries.append({**entry, "python": VALID[name]})
        else:
            entries.append({**entry, "refused": INVALID[name.removeprefix("bad_")][0]})
    return entries


def main() -> None:
    """Write all vectors and their list."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, data in vectors().items():
        (DIRECTORY / f"{name}.value").write_bytes(data)
    document = {"schema_version": 1, "format_version": 1, "vectors": described()}
    (DIRECTORY / "vectors.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
