"""The value format: what goes in comes back equal and of the same type, or is refused with a path."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import io
import math
import os
import pathlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manta.light._memory import open_value, seal_value
from manta.light._values import Encoded, decode, decode_descriptor, encode
from manta.light.errors import DataCorruptionError, ValueNotCarried


def same(left: Any, right: Any) -> bool:
    """Equal, of one type, to the last bit, NaN included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, np.generic):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    return bool(left == right)


def check_round_trip(value: Any) -> None:
    back = decode(encode(value).to_bytes())
    assert same(value, back), f"{value!r} came back as {back!r}"


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))
    | st.dates()
    | st.timedeltas()
)
keys = st.text() | st.integers() | st.booleans() | st.none() | st.binary()
arrays = hnp.arrays(
    hnp.scalar_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes(),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
        | st.sets(st.integers() | st.binary(), max_size=4)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_any_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    check_round_trip(value)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_refused_with_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_value_is_refused_or_read_but_never_worse(data: st.DataObject) -> None:
    sample = {"a": np.arange(5.0), "b": [1, (2, "x")], 3: b"yz", "c": np.float32(1), "d": {1, 2}}
    raw = bytearray(encode(sample).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(raw))
    except ValueError:
        pass


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        2**63,
        -(2**63) - 1,
        10**6000,
        float("nan"),
        -math.inf,
        -0.0,
        5e-324,
        1e16,
        complex(math.nan, -0.0),
        {"$": 1, "v": [2]},
        {"$": "int"},
        {1: "a", "1": "b", None: "c", 2.5: "d", b"x": "e"},
        collections.OrderedDict([("b", 1), ("a", 2)]),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
        "x" * 200_000 + "é\0\u2028",
        [float(n) for n in range(5000)] + [math.nan],
        list(range(-2500, 2500)),
        [2**70] * 1024,
        [True] * 2000,
        np.zeros((2, 3), order="F"),
        np.arange(24).reshape(2, 3, 4)[:, ::-1, ::2],
        np.arange(4, dtype=">i4"),
        np.array("2024-01-01", dtype="datetime64[D]"),
        np.array([(1, [2.0, 3.0])], dtype=[("a", "<i2"), ("b", "<f8", (2,))]),
        np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "<f8")], align=True)),
        np.empty((0, 3), dtype="f4"),
        np.array(7),
        np.str_("a\0"),
        np.str_(""),
        np.bytes_(b"a\0"),
        np.float16(0.1),
        np.datetime64("NaT", "s"),
        np.bool_(True),
        np.longdouble(1) / 3,
    ],
    ids=lambda value: type(value).__name__,
)
def test_hard_values_come_back(value: Any) -> None:
    if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
        assert np.array_equal(decode(encode(value).to_bytes()), value)
    else:
        check_round_trip(value)


def test_a_set_encodes_to_the_same_bytes_whatever_its_order() -> None:
    assert encode({"b", "a", "c"}).to_bytes() == encode({"c", "b", "a"}).to_bytes()


def test_arrays_arrive_writable_and_private(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "value"
    with open(path, "wb") as file:
        encode({"params": np.ones(1000)}).write(file.fileno())
    fd = os.open(path, os.O_RDONLY)
    first, second = decode_descriptor(fd), decode_descriptor(fd)
    os.close(fd)
    first["params"] += 1
    assert first["params"].sum() == 2000
    assert second["params"].sum() == 1000
    assert decode(path.read_bytes())["params"].sum() == 1000


def test_array_buffers_are_aligned_and_not_copied_when_read() -> None:
    fd = seal_value({"a": np.arange(3, dtype="u1"), "b": np.arange(5.0)}, "value")
    value = open_value(fd, "value")
    for array in value.values():
        assert array.ctypes.data % 64 == 0
        assert not array.flags.owndata


def test_large_contiguous_arrays_are_not_copied_when_encoded() -> None:
    array = np.arange(1_000_000.0)
    parts = list(encode({"a": array}).parts())
    assert any(np.shares_memory(array, np.frombuffer(part, "u1")) for part in parts if len(part) == array.nbytes)


def test_a_sealed_value_cannot_be_changed() -> None:
    fd = seal_value([1, 2], "value")
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    assert open_value(fd, "value") == [1, 2]


def test_a_value_of_many_pieces_is_written_whole(tmp_path: pathlib.Path) -> None:
    value = {str(n): bytes([n % 256]) * n for n in range(1500)}
    with open(tmp_path / "value", "wb") as file:
        encode(value).write(file.fileno())
    assert decode((tmp_path / "value").read_bytes()) == value


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int = 0


Pair = collections.namedtuple("Pair", "a b")
Cycle: list[Any] = []
Cycle.append(Cycle)


@pytest.mark.parametrize(
    ("value", "path", "conversion"),
    [
        ({"layers": [0, 1, lambda: 0]}, '["layers"][2]', "publish what it returns"),
        (io.StringIO(), "", "value.read()"),
        ([Colour.RED], "[0]", "value.value"),
        ({"p": Point()}, '["p"]', "dataclasses.asdict(value)"),
        ((Pair(1, 2),), "[0]", "value._asdict()"),
        ({1: {2: np.array([object()])}}, "[1][2]", "value.tolist()"),
        (np.ma.masked_array([1], [True]), "", "value.mask"),
        (np.zeros((1, 1)).view(np.recarray), "", "numpy.asarray(value)"),
        (collections.defaultdict(list), "", "dict(value)"),
        (bytearray(b"x"), "", "bytes(value)"),
        (iter([1]), "", "a dict of its fields"),
        (range(3), "", "list(value)"),
        (pathlib.Path("/x"), "", "str(value)"),
        (ValueError("x"), "", "str(value)"),
        ("\ud800", "", "surrogatepass"),
        ({(1, 2): 3}, "", "as keys"),
        (Cycle, "", "flatten"),
        ([[None] * 600_000] * 2, "[1][", "numpy.asarray"),
        ([{number * (2**61 - 1): 0 for number in range(1002)}], "[0]", "list(value.items())"),
        ({number * (2**61 - 1) for number in range(1002)}, "", "list(value)"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_cannot_be_carried_is_refused_with_its_path_and_a_conversion(
    value: Any, path: str, conversion: str
) -> None:
    with pytest.raises(ValueNotCarried) as caught:
        encode(value, 'result "model"')
    assert f'result "model"{path}' in caught.value.message
    assert conversion in str(caught.value)
    assert caught.value.code == "MANTA-0108"


def assemble(header: bytes, buffers: bytes = b"", magic: bytes = b"MANTAVAL", version: int = 1) -> bytes:
    start = magic + version.to_bytes(4, "little") + bytes(4) + len(header).to_bytes(8, "little") + header
    return start + bytes(-len(start) % 64) + buffers


ALIKE = [b'{"$":"int","v":"%#x"}' % (number * (2**61 - 1)) for number in range(8, 1010)]
"""Numbers with one hash, which a dict compares each with every other."""
PAIRS_ALIKE = [b"[%s,0]" % key for key in ALIKE]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "too short"),
        (assemble(b'{"tree":1,"buffers":[]}', magic=b"PICKLE!!"), "magic"),
        (assemble(b'{"tree":1,"buffers":[]}', version=2), "version 2"),
        (assemble(b'{"tree":1,"buffers":[]}')[:-1], "length"),
        (assemble(b'{"tree":1,"buffers":[]}') + b"x", "length"),
        (assemble(b'{"tree":1}'), "tree and buffers"),
        (assemble(b'{"tree":1,"tree":2,"buffers":[]}'), "twice"),
        (assemble(b'{"tree":NaN,"buffers":[]}'), "NaN"),
        (assemble(b'{"tree":1e999,"buffers":[]}'), "beyond a float"),
        (assemble(b'{"tree":9223372036854775808,"buffers":[]}'), "beyond 64 bits"),
        (assemble(b'{"tree":"\\ud800","buffers":[]}'), "surrogates"),
        (assemble(b'{"tree":{"$":"pickle","b":0},"buffers":[[128,1]]}', b"x"), "unknown tag"),
        (assemble(b'{"tree":{"$":["x"]},"buffers":[]}'), "unknown tag"),
        (assemble(b'{"tree":{"$":"int","v":"12"},"buffers":[]}'), "hexadecimal"),
        (assemble(b'{"tree":{"$":"int","v":"0x1"},"buffers":[]}'), "small int"),
        (assemble(b'{"tree":{"$":"tuple"},"buffers":[]}'), "wrong fields"),
        (assemble(b'{"tree":{"$":"bytes","b":0},"buffers":[]}'), "not there"),
        (assemble(b'{"tree":{"$":"bytes","b":-1},"buffers":[]}'), "not there"),
        (assemble(b'{"tree":1,"buffers":[[64,1]]}', b"x"), "no entry"),
        (assemble(b'{"tree":[{"$":"bytes","b":0},{"$":"bytes","b":0}],"buffers":[[128,1]]}', b"x"), "share"),
        (assemble(b'{"tree":{"$":"bytes","b":0},"buffers":[[0,8]]}'), "multiples of 64"),
        (assemble(b'{"tree":{"$":"bytes","b":0},"buffers":[[128,99999999999]]}'), "length"),
        (assemble(b'{"tree":{"$":"set","v":[[1]]},"buffers":[]}'), "cannot be one"),
        (assemble(b'{"tree":{"$":"set","v":[1,1]},"buffers":[]}'), "twice"),
        (assemble(b'{"tree":{"$":"dict","v":[[1,2],[1,3]]},"buffers":[]}'), "twice"),
        (assemble(b'{"tree":{"$":"dict","v":[%s]},"buffers":[]}' % b",".join(PAIRS_ALIKE)), "a hash"),
        (assemble(b'{"tree":{"$":"set","v":[%s]},"buffers":[]}' % b",".join(ALIKE)), "a hash"),
        (assemble(b'{"tree":{"$":"datetime","v":"20240101"},"buffers":[]}'), "ISO|iso"),
        (assemble(b'{"tree":{"$":"ndarray","dtype":"|O","shape":[1],"b":0},"buffers":[[128,8]]}', bytes(8)), "dtype"),
        (assemble(b'{"tree":{"$":"ndarray","dtype":"<f8","shape":[2],"b":0},"buffers":[[128,8]]}', bytes(8)), "shape"),
        (assemble(b'{"tree":{"$":"ndarray","dtype":"<f8","shape":[-1],"b":0},"buffers":[[128,8]]}', bytes(8)), "shape"),
        (assemble(b'{"tree":' + b"[" * 70 + b"]" * 70 + b',"buffers":[]}'), "deep"),
        (assemble(b'{"tree":' + b"[" * 100_000 + b"]" * 100_000 + b',"buffers":[]}'), "deep"),
        (assemble(b'{"tree":[' + b"0," * 1_000_000 + b'0],"buffers":[]}'), "entries"),
        (assemble(b'{"tree":[' + b"[]," * 3_000_000 + b'0],"buffers":[]}'), "entries"),
    ],
    ids=range(35),
)
def test_a_value_that_breaks_a_rule_is_refused_with_a_sentence(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode(data)


def test_keys_of_which_some_share_a_hash_are_carried() -> None:
    value = {-1: "a", -2: "b", **{2**number: number for number in range(1040)}}
    assert decode(encode(value).to_bytes()) == value


def test_padding_that_hides_bytes_is_refused() -> None:
    raw = bytearray(encode([b"abc", b"def"]).to_bytes())
    raw[-4] = 1
    with pytest.raises(ValueError, match="padding"):
        decode(bytes(raw))


def test_a_corrupt_value_in_a_task_names_what_it_was() -> None:
    fd = os.memfd_create("x")
    os.write(fd, b"not a value at all, but long enough")
    with pytest.raises(DataCorruptionError, match='global "model"'):
        open_value(fd, 'global "model"')


@pytest.mark.parametrize("key", [{"$": "tuple", "v": [1]}, {"$": "frozenset", "v": []}, [1], {}])
@pytest.mark.parametrize("tag", ["dict", "ordereddict"])
def test_a_key_that_no_writer_writes_is_refused(tag: str, key: Any) -> None:
    with pytest.raises(ValueError, match="key that is no scalar"):
        decode(Encoded({"$": tag, "v": [[key, 0]]}, []).to_bytes())
