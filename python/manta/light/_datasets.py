"""Finds out which form a dataset's files have, and opens it so."""

import zipfile
from pathlib import Path
from typing import Any, Callable, Dict

from ._dataset_arrays import NpzDataset, open_npy
from ._dataset_columns import ColumnsDataset
from ._dataset_files import FileDataset, TreeDataset
from ._dataset_safetensors import SafetensorsDataset
from ._dataset_source import Source
from ._dataset_table import TableDataset
from .errors import DataCorruptionError, DatasetUnavailable

Dataset = Any
"""An array, mapping of arrays, table, tree or file; always with ``.name``, ``.path``, ``.shape``."""

_FORMS: Dict[str, Callable[[str, Path], Dataset]] = {
    ".npy": open_npy,
    ".npz": NpzDataset,
    ".csv": TableDataset,
    ".safetensors": SafetensorsDataset,
    ".parquet": ColumnsDataset,
    ".arrow": ColumnsDataset,
}


def open_dataset(name: str, path: Path, file_name: str) -> Dataset:
    """Open the dataset at ``path``.

    Parameters
    ----------
    name : str
        The dataset's name.
    path : Path
        Where its file or directory is.
    file_name : str
        What the node calls the file; its suffix tells the form.

    Raises
    ------
    DatasetUnavailable
        If there is nothing at ``path``.
    DataCorruptionError
        If the file is not what its suffix says.
    """
    if path.is_dir():
        return TreeDataset(name, path)
    if not path.is_file():
        raise DatasetUnavailable(f'the node has no file for the dataset "{name}"')
    suffix = Path(file_name).suffix.lower()
    form = _FORMS.get(suffix) if suffix else _FORMS.get(_sniffed(path))
    return FileDataset(name, path) if form is None else form(name, path)


def read_numpy(name: str, path: Path) -> Dataset:
    """Open a ``.npy`` or ``.npz`` file, whatever it is called.

    Raises
    ------
    DataCorruptionError
        If it is neither.
    """
    suffix = _sniffed(path)
    form = _FORMS[suffix] if suffix in (".npy", ".npz") else None
    if form is None:
        raise DataCorruptionError(f'"{name}" is neither an .npy nor an .npz file')
    return form(name, path)


def _sniffed(path: Path) -> str:
    with Source(path.name, path, "file").reading(), open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return ".npy"
    if start[:4] == b"PAR1":
        return ".parquet"
    if start == b"ARROW1":
        return ".arrow"
    if start[:4] == b"PK\x03\x04" and zipfile.is_zipfile(path):
        with Source(path.name, path, "archive").reading(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return ".npz" if names and all(entry.endswith(".npy") for entry in names) else ""
    return ""
