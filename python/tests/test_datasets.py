"""Every form of dataset has a name, a path and a shape, and says clearly when it is damaged."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manta.light import Task
from manta.light._datasets import open_dataset
from manta.light._values import decode, encode
from manta.light.errors import DataCorruptionError, DatasetNotAuthorized, DatasetUnavailable
from manta.testing import run_task


def opened(path: Path, name: str = "digits") -> Any:
    return open_dataset(name, path, path.name)


def test_npy_is_a_read_only_map_with_a_name(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(12.0).reshape(3, 4))
    data = opened(tmp_path / "d.npy")
    assert (data.name, data.path, data.shape) == ("digits", tmp_path / "d.npy", (3, 4))
    assert isinstance(data, np.memmap) and not data.flags.writeable
    assert type(data[:2]) is type(data + 1) is np.ndarray
    assert type(data.sum()) is type(data[0, 0]) is np.float64
    assert np.load(data).tolist() == data.tolist()


def test_a_mapped_dataset_can_be_published(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(3))
    assert type(decode(encode(opened(tmp_path / "d.npy")).to_bytes())) is np.ndarray


def test_npz_is_a_mapping_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((5, 2)), y=np.zeros(5))
    data = opened(tmp_path / "d.npz")
    assert list(data) == ["x", "y"] and data["x"].sum() == 10
    assert data.shape == (5, 2) and data.shapes == {"x": (5, 2), "y": (5,)}
    with np.load(data) as arrays:
        assert arrays["y"].shape == (5,)
    with pytest.raises(DatasetUnavailable, match='no array "z"'):
        data["z"]


def test_a_numeric_table_becomes_a_float_array(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("age,height\n1,2.5\n3,\n")
    data = opened(tmp_path / "d.csv")
    assert data.shape == (2, 2) and data.columns == ("age", "height")
    assert np.array_equal(data.to_numpy(), [[1, 2.5], [3, np.nan]], equal_nan=True)
    assert data["age"] == ["1", "3"] and list(data) == [["1", "2.5"], ["3", ""]]


def test_a_table_without_names_counts_its_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2\n3,4\n")
    data = opened(tmp_path / "d.csv")
    assert data.columns == ("0", "1") and data.shape == (2, 2)


def test_a_table_of_text_becomes_an_array_of_text(tmp_path: Path) -> None:
    with open(tmp_path / "d.csv", "w", newline="") as file:
        csv.writer(file).writerows([["name", "n"], ['a "quoted", one', 1], ["b", 2]])
    data = opened(tmp_path / "d.csv")
    assert data.to_numpy().tolist() == [['a "quoted", one', "1"], ["b", "2"]]


def test_a_directory_is_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    (tmp_path / "y.bin").write_bytes(b"yy")
    data = opened(tmp_path)
    assert data.shape == (2,) and len(data) == 2 and data.path == tmp_path
    assert data.files("*.txt") == [tmp_path / "a" / "x.txt"]
    with data.open("y.bin") as file:
        assert file.read() == b"yy"
    with pytest.raises(DatasetUnavailable, match="did you mean"):
        data.open("a/x.tx")


def test_any_other_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "d.jpg").write_bytes(b"12345")
    data = opened(tmp_path / "d.jpg")
    assert data.shape == (5,) and data.read_bytes() == b"12345"
    with data.open("r") as file:
        assert file.read() == "12345" == data.read_text()


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.csv"])
def test_damage_is_told_with_the_datasets_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 garbage")
    with pytest.raises(DataCorruptionError, match='"digits"'):
        assert opened(tmp_path / name).shape


def write_every_form(folder: Path) -> list[Path]:
    """Write a dataset of each form that needs no further library."""
    np.save(folder / "d.npy", np.arange(1000.0))
    np.savez_compressed(folder / "d.npz", x=np.random.default_rng(1).random(1000))
    (folder / "d.csv").write_text("a,b\n" + "1,2\n" * 500)
    (folder / "d.txt").write_text("é\n" * 500, encoding="utf-8")
    return [folder / f"d.{form}" for form in ("npy", "npz", "csv", "txt")]


def read(path: Path) -> Any:
    """Open a dataset and read all of it."""
    data = opened(path)
    if path.suffix == ".npy":
        return data.sum()
    return {".npz": lambda: data["x"], ".csv": lambda: data.to_numpy(), ".txt": lambda: data.read_text()}[path.suffix]()


def test_what_is_cut_short_or_written_over_is_told_with_name_file_and_reason(tmp_path: Path) -> None:
    for path in write_every_form(tmp_path):
        read(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-101] if path.suffix != ".csv" else whole[:-3])
        if path.suffix == ".txt":
            path.write_bytes(whole[:-2])
        with pytest.raises(DataCorruptionError, match=rf'"digits" \({path.name}\)'):
            read(path)
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
        if path.suffix != ".npy":  # its numbers are as good as any
            with pytest.raises(DataCorruptionError, match='"digits"'):
                read(path)


def test_what_changes_while_it_is_open_is_told(tmp_path: Path) -> None:
    calls: dict[str, Any] = {"npz": lambda d: d["x"], "csv": lambda d: d.to_numpy(), "txt": lambda d: d.read_text()}
    paths = {path.suffix[1:]: path for path in write_every_form(tmp_path)}
    for form, call in calls.items():
        data = opened(paths[form])
        call(data)
        os.utime(paths[form], ns=(1, 1))
        with pytest.raises(DataCorruptionError, match=rf"d\.{form}.* was changed while it was open"):
            call(data)


def test_what_cannot_be_read_is_told_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    paths = write_every_form(tmp_path)
    (plain := tmp_path / "plain").write_bytes(b"x")
    monkeypatch.setattr("builtins.open", refuse)
    for path in [*paths, plain]:
        with pytest.raises(DataCorruptionError, match="cannot be read: Permission denied"):
            opened(path)


def test_a_ragged_table_is_told_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataCorruptionError, match=r"row 2 .* 1 cells"):
        opened(tmp_path / "d.csv").to_numpy()


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DataCorruptionError):
        opened(tmp_path / "d.npy")
    np.savez(tmp_path / "e.npz", x=np.array([print], dtype=object))
    with pytest.raises(DataCorruptionError):
        opened(tmp_path / "e.npz")["x"]


def test_a_file_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "a.npy").rename(tmp_path / "a")
    assert opened(tmp_path / "a").shape == (3,)
    np.savez(tmp_path / "b.npz", np.ones(4))
    (tmp_path / "b.npz").rename(tmp_path / "b")
    assert opened(tmp_path / "b").shape == (4,)
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        archive.writestr("readme", "text")
    assert opened(tmp_path / "c").read_bytes()[:2] == b"PK"


def test_the_older_calls_open_files_directories_and_paths_inside(tmp_path: Path) -> None:
    np.savez(tmp_path / "part.npz", x=np.ones(2))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.txt").write_text("é\nb\n", encoding="utf-8")

    class Reader(Task):
        def run(self) -> None:
            local = self.local
            for name in ("mnist/part.npz", "single"):
                with local.get_binary_data(name) as file:
                    assert np.load(file)["x"].sum() == 2
            assert local.get_numpy_data("mnist/part.npz")["x"].sum() == 2
            with np.load(local.get_numpy_data("single.npz")) as arrays:
                assert arrays["x"].sum() == 2
            assert local.list_dir("mnist") == ["part.npz", "sub"]
            assert local.list_dir("mnist/sub") == ["notes.txt"]
            assert list(local.read_file_lines("mnist/sub/notes.txt")) == ["é", "b"]
            assert local.exists("mnist") and local.exists("mnist/sub")
            assert not local.exists("mnist/none") and not local.exists("other")
            with pytest.raises(DatasetUnavailable, match="leads out"):
                local.get_binary_data("mnist/../secret")
            with pytest.raises(DatasetUnavailable, match="did you mean"):
                local.get_binary_data("mnist/sub/note.txt")
            with pytest.raises(DatasetUnavailable, match="directory of 2 entries"):
                local.get_binary_data("mnist")
            with pytest.raises(DatasetNotAuthorized, match='did you mean "mnist"'):
                local.get_dataset("mnits")

    run_task(Reader, datasets={"mnist": tmp_path, "single": tmp_path / "part.npz"})
