"""Values of libraries that an image may have: each comes back equal and of the same type, where it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manta.light._arrow_messages import unpacked_bytes
from manta.light._datasets import open_dataset
from manta.light._memory import open_value, seal_value
from manta.light._values import Encoded, decode, encode
from manta.light._values._arrays import NARROW, json_to_dtype
from manta.light._values._tables import DATAFRAME, table_from
from manta.light.errors import DataCorruptionError, MantaError, ResourceExhaustionError, ValueNotCarried

ARRAYS = hnp.arrays(
    hnp.integer_dtypes(endianness="<", sizes=(8, 32, 64)) | hnp.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)


def library(name: str) -> Any:
    """Return a library, or skip the test."""
    return pytest.importorskip(name, reason=f"needs {name}")


def back(value: Any) -> Any:
    """Return what another process would get."""
    return open_value(seal_value(value, "value"), "value")


@pytest.mark.parametrize("name", NARROW)
def test_narrow_numbers_keep_their_type_and_bits(name: str) -> None:
    ml_dtypes = library("ml_dtypes")
    if not hasattr(ml_dtypes, name):
        pytest.skip(f"needs an ml_dtypes with {name}")
    kind = getattr(ml_dtypes, name)
    array = np.array([0, 1, -1, 1] if not name.startswith(("u", "float8_e8")) else [1, 1, 1, 1]).astype(kind)
    for value in (array, array.reshape(2, 2), array[:0], array[1]):
        found = back({"x": value})["x"]
        assert type(found) is type(value) and found.dtype == value.dtype and found.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "form",
    [
        {"base": "bfloat16", "shape": [2]},
        {"names": ["a"], "formats": ["bfloat16"], "offsets": [0], "itemsize": 8},
    ],
)
def test_a_field_of_narrow_numbers_is_refused_as_no_writer_makes_one(form: Any) -> None:
    library("ml_dtypes")
    with pytest.raises(ValueError, match="unknown dtype 'bfloat16'"):
        json_to_dtype(form)


@given(ARRAYS)
def test_tensors_come_back_writable_and_equal(array: Any) -> None:
    torch = library("torch")
    for tensor in (torch.from_numpy(array.copy()), torch.from_numpy(array.copy()).t() if array.ndim == 2 else None):
        if tensor is None:
            continue
        found = back([tensor])[0]
        assert type(found) is torch.Tensor and found.dtype == tensor.dtype and found.shape == tensor.shape
        assert found.contiguous().numpy().tobytes() == tensor.contiguous().numpy().tobytes()
        found += 1


def test_odd_tensors_are_carried_or_refused_with_a_conversion() -> None:
    torch = library("torch")
    for tensor in (
        torch.tensor([1.5, -2]).to(torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor([1 + 2j]).conj(),
        torch.ones(3, requires_grad=True),
        torch.tensor(float("nan")),
    ):
        found = back(tensor)
        assert found.dtype == tensor.dtype and torch.equal(found.nan_to_num(7), tensor.detach().nan_to_num(7))
    cases = {"to_dense": torch.eye(2).to_sparse(), "detach": torch.nn.Parameter(torch.ones(1))}
    for conversion, tensor in cases.items():
        with pytest.raises(ValueNotCarried) as caught:
            encode({"w": [tensor]})
        assert conversion in str(caught.value) and '["w"][0]' in str(caught.value)


def test_a_state_dict_is_carried_and_loads() -> None:
    torch = library("torch")
    from manta.light.utils import bytes_to_torchmodel, torchmodel_to_bytes

    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    other.load_state_dict(back(dict(model.state_dict())))
    assert torch.equal(model.weight, other.weight)
    other = torch.nn.Linear(3, 2)
    assert bytes_to_torchmodel(torchmodel_to_bytes(model), other) is other
    assert torch.equal(model.weight, other.weight) and torch.equal(model.bias, other.bias)
    with pytest.raises(DataCorruptionError, match="other weights than Linear"):
        bytes_to_torchmodel(torchmodel_to_bytes(model), torch.nn.Linear(4, 2))


@given(st.data())
def test_tables_come_back_equal_and_of_the_same_type(data: st.DataObject) -> None:
    pandas, pyarrow = library("pandas"), library("pyarrow")
    rows = data.draw(st.integers(0, 5))
    columns = {
        "whole": st.integers(-(2**63), 2**63 - 1),
        "real": st.floats(),
        "text": st.text(st.characters(codec="utf-8"), max_size=5),
        "yes": st.booleans(),
    }
    drawn = {name: data.draw(st.lists(kind, min_size=rows, max_size=rows)) for name, kind in columns.items()}
    dtypes = {"whole": "int64", "real": "float64", "text": "str", "yes": "bool"}
    frame = pandas.DataFrame(drawn).astype(dtypes)
    found = back({"table": frame})["table"]
    assert type(found) is pandas.DataFrame
    pandas.testing.assert_frame_equal(found, frame, check_exact=True)
    table = pyarrow.Table.from_pandas(frame)
    again = back(table)
    assert type(again) is pyarrow.Table and again.schema.equals(table.schema) and again.to_pydict().keys()
    pandas.testing.assert_frame_equal(again.to_pandas(), table.to_pandas(), check_exact=True)


def test_an_index_and_categories_survive_and_what_does_not_is_refused_by_its_column() -> None:
    pandas = library("pandas")
    library("pyarrow")
    frame = pandas.DataFrame({"c": pandas.Categorical(["a", "b", "a"])}, index=pandas.Index([5, 6, 9], name="n"))
    pandas.testing.assert_frame_equal(back(frame), frame)
    for odd in (pandas.DataFrame({"odd": [1, "a", object()]}), pandas.DataFrame({"odd": [1, "a"]})):
        with pytest.raises(ValueNotCarried) as caught:
            encode(odd)
        assert "odd" in str(caught.value) and "hint: value" in str(caught.value)


def test_a_frame_that_could_not_be_written_again_is_not_read() -> None:
    pyarrow = library("pyarrow")
    library("pandas")
    table = pyarrow.table([[1], [2]], names=["a", "a"])
    with pytest.raises(ValueError, match="two columns of the DataFrame have one name"):
        table_from(memoryview(ipc(table)), DATAFRAME)


@given(st.data())
def test_a_damaged_table_is_an_error_and_no_crash(data: st.DataObject) -> None:
    pyarrow = library("pyarrow")
    raw = bytearray(encode(pyarrow.table({"a": [1, 2], "b": ["x", "yz"]})).to_bytes())
    start = raw.index(b"ARROW") if b"ARROW" in raw else 128
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(start, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(raw))
    except ValueError:
        pass


def ipc(table: Any, *, stream: bool = True, compression: str | None = None) -> bytes:
    """Return an Arrow table in Arrow's stream or file format."""
    pyarrow = library("pyarrow")
    sink, options = pyarrow.BufferOutputStream(), pyarrow.ipc.IpcWriteOptions(compression=compression)
    make = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with make(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def value_of(tag: str, table: bytes) -> bytes:
    """Return an encoded value that holds such a stream, as somebody else may have written it."""
    return Encoded({"$": tag, "b": 0}, [memoryview(table)]).to_bytes()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_small_stream_never_takes_much_memory(compression: str) -> None:
    pyarrow = library("pyarrow")
    zeros = pyarrow.table({"x": np.zeros(10_000_000), "d": pyarrow.array(["a"] * 10_000_000).dictionary_encode()})
    for tag in ("arrow", "dataframe"):
        with pytest.raises(ValueError, match="compressed"):
            decode(value_of(tag, ipc(zeros, compression=compression)))
    assert decode(value_of("arrow", ipc(zeros.slice(0, 5)))).num_rows == 5
    library("pandas")
    nulls = pyarrow.table({"x": pyarrow.nulls(2_000_000_000)})
    runs = pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([2_000_000_000], pyarrow.int32()), ["a"])
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.nulls(2_000_000_000), 2_000_000_000)
    for table in (nulls, pyarrow.table({"x": runs}), pyarrow.table({"x": lists})):
        assert len(ipc(table)) < 2000
        with pytest.raises(ValueError, match="more cells than its bytes"):
            decode(value_of("dataframe", ipc(table)))
        assert decode(value_of("arrow", ipc(table))).num_rows == table.num_rows, "as it is, it takes nothing"


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_dataset_that_would_not_fit_is_refused_before_it_is_unpacked(
    tmp_path: Path, stream: bool, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = library("pyarrow")
    rows = 1_000_000
    table = pyarrow.table({"x": np.zeros(rows), "d": pyarrow.array(["ab"] * rows).dictionary_encode()})
    (tmp_path / "t.arrow").write_bytes(ipc(table, stream=stream, compression=compression))
    assert (tmp_path / "t.arrow").stat().st_size < 200_000
    assert open_dataset("t", tmp_path / "t.arrow", "t.arrow").shape == (rows, 2)
    monkeypatch.setattr("manta.light._dataset_columns.memory_bytes_max", lambda: 12 * rows - 1)
    with pytest.raises(ResourceExhaustionError, match=rf"takes 120000\d\d bytes .* may use {12 * rows - 1}"):
        open_dataset("t", tmp_path / "t.arrow", "t.arrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    parquet.write_table(pyarrow.table({"x": np.arange(rows)}), tmp_path / "t.parquet", use_dictionary=False)
    monkeypatch.setattr("manta.light._dataset_columns.memory_bytes_max", lambda: 7 * rows)
    with pytest.raises(ResourceExhaustionError, match=r"t\.parquet"):
        open_dataset("t", tmp_path / "t.parquet", "t.parquet").to_numpy()


@given(st.data())
def test_the_frame_of_a_damaged_stream_is_followed_or_refused(data: st.DataObject) -> None:
    pyarrow = library("pyarrow")
    whole = ipc(pyarrow.table({"a": [1] * 99}), stream=data.draw(st.booleans()), compression="lz4")
    raw = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpacked_bytes(memoryview(raw))
    except ValueError:
        pass


def test_parquet_and_arrow_datasets_are_tables(tmp_path: Path) -> None:
    pyarrow = library("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    table = pyarrow.table({"x": [1.0, 2.0, None], "y": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pyarrow.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.arrow"):
        found = open_dataset("t", tmp_path / name, name)
        assert (found.name, found.path, found.shape, found.columns) == ("t", tmp_path / name, (3, 2), ("x", "y"))
        assert found.to_numpy().shape == (3, 2) and np.isnan(found.to_numpy()[2, 0])
        assert found["y"].to_pylist() == [1, 2, 3] and len(found) == 3
        damaged = tmp_path / f"bad-{name}"
        damaged.write_bytes((tmp_path / name).read_bytes()[:-40])
        with pytest.raises(DataCorruptionError, match='the dataset "t"'):
            open_dataset("t", damaged, name)
    pandas = library("pandas")
    assert isinstance(found.to_pandas(), pandas.DataFrame)


def test_a_table_without_its_library_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(MantaError, match="needs pyarrow, which this image lacks") as caught:
        open_dataset("t", tmp_path / "t.parquet", "t.parquet")
    assert ".csv" in str(caught.value.hint)


def write_safetensors(path: Path, arrays: dict[str, Any], *, header: dict[str, Any] | None = None) -> None:
    """Write the format by its public description."""
    codes = {"float32": "F32", "int64": "I64", "bool": "BOOL", "float16": "F16"}
    described, data = {"__metadata__": {"made": "here"}}, b""
    for name, array in arrays.items():
        raw = array.tobytes()
        described[name] = {  # type: ignore[assignment]
            "dtype": codes[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(described if header is None else header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_safetensors_are_a_mapping_of_mapped_arrays(tmp_path: Path) -> None:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(5), "e": np.zeros((0, 4), np.float16)}
    write_safetensors(tmp_path / "m.safetensors", arrays)
    found = open_dataset("m", tmp_path / "m.safetensors", "m.safetensors")
    assert list(found) == ["w", "n", "e"] and found.shape == (2, 3)
    assert found.shapes == {"w": (2, 3), "n": (), "e": (0, 4)}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and not found[name].flags.writeable
    with pytest.raises(MantaError, match='did you mean "w"'):
        found["W"]
    library("safetensors")
    from safetensors.numpy import save_file

    save_file(arrays, tmp_path / "theirs.safetensors")
    found = open_dataset("m", tmp_path / "theirs.safetensors", "theirs.safetensors")
    np.testing.assert_array_equal(found["w"], arrays["w"])


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}},
        {"w": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}},
        {"w": 3},
        ["w"],
    ],
)
def test_damaged_safetensors_are_told_with_the_datasets_name(tmp_path: Path, header: Any) -> None:
    write_safetensors(tmp_path / "m.safetensors", {"w": np.ones(1, np.float32)}, header=header)
    with pytest.raises(DataCorruptionError, match='the dataset "m"'):
        open_dataset("m", tmp_path / "m.safetensors", "m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(DataCorruptionError, match='the dataset "m"'):
        open_dataset("m", tmp_path / "m.safetensors", "m.safetensors")
