"""Values as files of other programs: each is read back by the program whose format it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manta import _pull
from manta.light._values import encode


def export(folder: Path, form: str, value: Any) -> tuple[int, Path]:
    """Write a value in a format; give the exit code and the file."""
    (folder / "v.value").write_bytes(encode(value).to_bytes())
    to = folder / f"v.{form}"
    files = [{"value": str(folder / "v.value"), "to": str(to), "name": "weights"}]
    (folder / "job.json").write_text(json.dumps({"format": form, "files": files}))
    return _pull.main([str(folder / "job.json")]), to


MODEL = {"layers": [{"w": np.arange(6, dtype="<f4").reshape(2, 3)}, {"w": np.ones(2)}], "n": 3, "file": np.int8(1)}


def test_npz_has_every_array_under_its_path(tmp_path: Path) -> None:
    code, to = export(tmp_path, "npz", MODEL)
    assert code == 0
    with np.load(to, allow_pickle=False) as read:
        assert sorted(read) == ["file", "layers.0.w", "layers.1.w", "n"]
        assert read["layers.0.w"].dtype == np.float32 and read["layers.0.w"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert read["n"].item() == 3


def test_safetensors_are_as_the_format_says(tmp_path: Path) -> None:
    code, to = export(tmp_path, "safetensors", MODEL)
    assert code == 0
    data = to.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    assert length % 8 == 0 and header["layers.0.w"]["dtype"] == "F32"
    begin, end = header["layers.0.w"]["data_offsets"]
    assert np.frombuffer(body[begin:end], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(body)


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (0.5, [["value"], ["0.5"]]),
        (np.array([1, 2]), [["value"], ["1"], ["2"]]),
        (np.array([[1, 2], [3, 4]]), [["0", "1"], ["1", "2"], ["3", "4"]]),
        ({"loss": 0.5, "n": 2}, [["loss", "n"], ["0.5", "2"]]),
        ({"x": [1, 2], "y": np.array([3.0, 4.0])}, [["x", "y"], ["1", "3.0"], ["2", "4.0"]]),
        ([{"a": 1}, {"a": 2, "b": 'x,"y'}], [["a", "b"], ["1", ""], ["2", 'x,"y']]),
    ],
)
def test_csv_is_a_table(tmp_path: Path, value: Any, rows: list[list[str]]) -> None:
    code, to = export(tmp_path, "csv", value)
    assert code == 0
    with to.open(newline="") as file:
        assert list(csv.reader(file)) == rows


def test_json_is_strict_whatever_the_numbers(tmp_path: Path) -> None:
    value = {"a": np.array([1.5, np.nan]), "b": b"\x00\xff", "c": (1 + 2j), 4: None, "d": {2, 1}}
    code, to = export(tmp_path, "json", value)
    assert code == 0
    read = json.loads(to.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read == {"a": [1.5, "nan"], "b": "AP8=", "c": [1.0, 2.0], "4": None, "d": [1, 2]}


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("npz", {"a": None}),
        ("npz", {"a/b": 1, "a_b": 2}),
        ("safetensors", "text"),
        ("csv", {"x": [1], "y": [1, 2]}),
        ("csv", np.zeros((1, 1, 1))),
    ],
)
def test_what_has_no_form_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, value: Any
) -> None:
    code, _ = export(tmp_path, form, value)
    told = json.loads(capsys.readouterr().err)
    assert code == 4 and told["code"] == "MANTA-0108"
    assert told["message"].startswith(f"`weights` cannot be written as {form}: "), told
    assert "value" in told["hint"]


def test_damaged_bytes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v.value").write_bytes(b"MANTAVAL" + bytes(64))
    job = {"format": "json", "files": [{"value": str(tmp_path / "v.value"), "to": str(tmp_path / "o"), "name": "r"}]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert _pull.main([str(tmp_path / "job.json")]) == 4
    assert "cannot be written as json" in json.loads(capsys.readouterr().err)["message"]
