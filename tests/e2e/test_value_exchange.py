"""Values between two implementations of their format: Python's, and one in Rust that shares the page with it alone."""

import collections
import datetime
import importlib.util
import json
import re
import struct
import subprocess

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.manta import ROOT, binary
from manta.light._values import decode, encode

OTHER = binary().with_name("manta-values")
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
# What a reader of headers alone does not look at: bytes of buffers and padding, and whether keys and dates are right.
NOT_LOOKED_AT = re.compile(
    "padding|'utf-8' codec|'utf-32-le' codec|key twice|entry twice|cannot be one|hash|date is|isoformat|out of range"
    "|year|month|day|hour|minute|second|table|Arrow|DataFrame|dtype cannot be read|cannot be made|not installed|lacks"
)

RECORDS = [
    numpy.dtype([("a", "<f4"), ("b", ">i8", (2, 3)), ("c", "<U2")]),
    numpy.dtype({"names": ["a"], "formats": ["|b1"], "offsets": [5], "itemsize": 16}),
    numpy.dtype([("a", [("b", "<M8[ns]"), ("c", "<c16")])]),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**120), 2**120)
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))
    | st.dates()
    | st.timedeltas()
)
arrays = hnp.arrays(
    hnp.scalar_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes() | st.sampled_from(RECORDS),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)
packed = st.lists(st.floats(), min_size=1024, max_size=1100) | st.lists(
    st.integers(-(2**63), 2**63 - 1), min_size=1024, max_size=1100
)
values = st.recursive(
    scalars | arrays | packed,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none() | st.binary(), inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4).map(collections.OrderedDict)
        | st.frozensets(st.integers() | st.text(), max_size=4)
        | st.sets(st.integers() | st.binary(), max_size=4)
    ),
    max_leaves=12,
)


def described(value):
    """Say what a value is made of, in the form of the other implementation."""
    if value is None:
        return ["none"]
    if isinstance(value, numpy.ndarray):
        dtype = value.dtype
        wide = dtype.itemsize > {"f": 8, "c": 16}.get(dtype.kind, dtype.itemsize)
        kind = "opaque" if dtype.subdtype or dtype.names or wide else KINDS.get(dtype.kind, "opaque")
        is_big = dtype.names is None and dtype.subdtype is None and dtype.str.startswith(">")
        return ["ndarray", kind, dtype.itemsize, is_big, list(value.shape), value.tobytes("C").hex()]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", hex(value)]
    if isinstance(value, float):
        return ["float", struct.pack(">d", value).hex()]
    if isinstance(value, complex):
        return ["complex", [described(value.real), described(value.imag)]]
    if isinstance(value, str):
        return ["str", value.encode().hex()]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, datetime.datetime):
        return ["datetime", value.replace(fold=0).isoformat(), bool(value.fold)]
    if isinstance(value, datetime.date):
        return ["date", value.isoformat()]
    if isinstance(value, datetime.timedelta):
        return ["timedelta", [described(part) for part in (value.days, value.seconds, value.microseconds)]]
    if isinstance(value, dict):
        return [type(value).__name__.lower(), [[described(key), described(entry)] for key, entry in value.items()]]
    if isinstance(value, (set, frozenset)):
        entries = [described(entry) for entry in value]
        return [type(value).__name__, sorted(entries, key=lambda entry: json.dumps(entry, separators=(",", ":")))]
    return [type(value).__name__, [described(entry) for entry in value]]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Return what the other implementation says of encoded bytes, and has it end with the tests."""
    path = tmp_path_factory.mktemp("exchange") / "one.value"
    with subprocess.Popen([OTHER, "read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:

        def read(data):
            path.write_bytes(data)
            print(path, file=reader.stdin, flush=True)
            return json.loads(reader.stdout.readline())

        yield read
        reader.stdin.close()
        assert reader.wait(10) == 0


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=values)
def test_what_python_writes_is_the_same_to_the_other(other, value):
    assert other(encode(value).to_bytes()) == described(value)


def test_what_the_other_writes_is_the_same_to_python(tmp_path):
    command = [OTHER, "write", "20261126", "600", tmp_path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 600 and len({json.loads(line)[0] for line in lines}) > 10, "values of every kind are drawn"
    for number, line in enumerate(lines):
        data = (tmp_path / f"{number}.value").read_bytes()
        value = decode(data)
        assert described(value) == json.loads(line), f"value {number}"
        assert described(decode(encode(value).to_bytes())) == json.loads(line), f"value {number}, written again"


def test_damaged_values_are_refused_by_both_or_read_by_both(other):
    spec = importlib.util.spec_from_file_location("fuzz_values", ROOT / "python" / "fuzz" / "values.py")
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    maker, refused, read = fuzz.Maker(list(fuzz.seeds()), 20261126), 0, 0
    for _ in range(4000):
        data = maker.one()
        told = other(data)
        is_refused = isinstance(told, dict)
        try:
            decode(data)
        except ValueError as error:
            refused += is_refused
            assert is_refused or NOT_LOOKED_AT.search(str(error)), (str(error), told, data)
        else:
            read += 1
            assert not is_refused, (told, data)
    assert refused > 1000 and read > 200, (refused, read)
