"""Datasets that are a table in a ``.csv`` file, read with the standard library."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

from ._dataset_arrays import require_numpy
from ._dataset_source import Source
from ._names import did_you_mean
from .errors import DataCorruptionError, DatasetUnavailable, MantaError

if TYPE_CHECKING:
    import numpy as np


class TableDataset:
    """A table, read row by row and not kept.

    The first row names the columns, unless all its cells are numbers: then the columns are
    called ``"0"``, ``"1"`` and so on.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    columns : tuple of str
        The columns' names.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._source = Source(name, path, ".csv table")
        first = next(self._lines(), None)
        if first is None:
            raise DataCorruptionError(f'the dataset "{name}" ({path.name}) is an empty table')
        self._headed = not all(_number(cell) is not None for cell in first)
        self.columns: Tuple[str, ...] = tuple(first if self._headed else map(str, range(len(first))))
        self._rows: Optional[int] = None

    @property
    def shape(self) -> Tuple[int, int]:
        """``(rows, columns)``."""
        if self._rows is None:
            self._rows = sum(1 for _ in self)
        return (self._rows, len(self.columns))

    def __iter__(self) -> Iterator[List[str]]:
        lines = self._lines()
        if self._headed:
            next(lines)
        for number, row in enumerate(lines, 1):
            if len(row) != len(self.columns):
                message = f'row {number} of the dataset "{self.name}" ({self.path.name}) has {len(row)} cells'
                raise DataCorruptionError(f"{message}, the table has {len(self.columns)} columns")
            yield row

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, column: str) -> List[str]:
        if column not in self.columns:
            message = f'the dataset "{self.name}" has no column "{column}"'
            raise DatasetUnavailable(message, hint=did_you_mean(column, self.columns))
        index = self.columns.index(column)
        return [row[index] for row in self]

    def to_numpy(self) -> "np.ndarray[Any, Any]":
        """Return the table as an array of its shape.

        Returns
        -------
        numpy.ndarray
            float64 where every cell is a number or empty (an empty cell is NaN), else str.
        """
        numpy = require_numpy(f'the dataset "{self.name}"')
        cells = list(self)
        numbers = [[_number(cell) for cell in row] for row in cells]
        numeric = not any(cell is None for row in numbers for cell in row)
        array = numpy.array(numbers if numeric else cells, dtype=float if numeric else str)
        return array.reshape(len(cells), len(self.columns))  # type: ignore[no-any-return]

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises
        ------
        MantaError
            If the image has no pandas.
        """
        try:
            import pandas
        except ImportError as error:
            message = f'the dataset "{self.name}" as a DataFrame needs pandas, which this image lacks'
            raise MantaError(message, hint="use .to_numpy(), or an image with pandas") from error
        names = list(self.columns)
        with self._source.reading():
            return pandas.read_csv(self.path, header=0 if self._headed else None, names=names)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'TableDataset("{self.name}", shape={self.shape})'

    def _lines(self) -> Iterator[List[str]]:
        with self._source.reading(csv.Error), open(self.path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            while True:
                row = next(rows, None)
                if row is None:
                    return
                if row:
                    yield row


def _number(cell: str) -> Optional[float]:
    text = cell.strip()
    if not text:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return None
