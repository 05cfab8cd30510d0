"""Datasets that are a table by columns, ``.parquet`` and ``.arrow``; pyarrow is imported where one is opened."""

from pathlib import Path
from typing import Any, Iterator, Tuple

from ._dataset_arrays import require_numpy
from ._names import did_you_mean
from .errors import DataCorruptionError, DatasetUnavailable, MantaError


def require_pyarrow(what: str) -> Any:
    """Import pyarrow.

    Raises
    ------
    MantaError
        If the image has none; names ``what`` needs it.
    """
    try:
        import pyarrow
    except ImportError as error:
        hint = "use an image with pyarrow, or offer the data as .csv or .npy"
        raise MantaError(f"{what} needs pyarrow, which this image lacks", hint=hint) from error
    return pyarrow


class ColumnsDataset:
    """A table that is read when its rows are asked for.

    Attributes
    ----------
    name : str
        The dataset's name.
    path : Path
        The file.
    columns : tuple of str
        The columns' names.
    shape : tuple of int
        ``(rows, columns)``.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._pyarrow = require_pyarrow(f'the dataset "{name}"')
        self._table: Any = None
        try:
            with open(path, "rb") as file:
                self._is_parquet = file.read(4) == b"PAR1"
            if self._is_parquet:
                from pyarrow import parquet

                metadata = parquet.read_metadata(path)
                names, rows = metadata.schema.to_arrow_schema().names, metadata.num_rows
            else:
                self._table = self._mapped()
                names, rows = self._table.schema.names, self._table.num_rows
        except (self._pyarrow.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error
        self.columns: Tuple[str, ...] = tuple(names)
        self.shape: Tuple[int, int] = (rows, len(names))

    def to_arrow(self) -> Any:
        """Return the whole table as a ``pyarrow.Table``; an ``.arrow`` file is mapped and not copied."""
        if self._table is None:
            from pyarrow import parquet

            try:
                self._table = parquet.read_table(self.path)
            except (self._pyarrow.ArrowException, OSError, ValueError) as error:
                raise self._damaged(error) from error
        return self._table

    def to_numpy(self) -> Any:
        """Return the table as an array of its shape; missing numbers are NaN."""
        numpy = require_numpy(f'the dataset "{self.name}"')
        columns = [self.to_arrow().column(index).to_numpy() for index in range(len(self.columns))]
        return numpy.column_stack(columns) if columns else numpy.empty(self.shape)

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises
        ------
        MantaError
            If the image has no pandas.
        """
        try:
            return self.to_arrow().to_pandas()
        except ImportError as error:
            message = f'the dataset "{self.name}" as a DataFrame needs pandas, which this image lacks'
            raise MantaError(message, hint="use .to_numpy(), or an image with pandas") from error

    def __getitem__(self, column: str) -> Any:
        if column not in self.columns:
            message = f'the dataset "{self.name}" has no column "{column}"'
            raise DatasetUnavailable(message, hint=did_you_mean(column, self.columns))
        return self.to_arrow().column(column)

    def __iter__(self) -> Iterator[Tuple[Any, ...]]:
        for batch in self.to_arrow().to_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns))

    def __len__(self) -> int:
        return self.shape[0]

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'ColumnsDataset("{self.name}", shape={self.shape})'

    def _mapped(self) -> Any:
        """Open an Arrow file, or a stream where it is none."""
        pyarrow = self._pyarrow
        source = pyarrow.memory_map(str(self.path))
        try:
            table = pyarrow.ipc.open_file(source).read_all()
        except pyarrow.ArrowInvalid:
            source.seek(0)
            table = pyarrow.ipc.open_stream(source).read_all()
        table.validate(full=True)
        return table

    def _damaged(self, error: BaseException) -> DataCorruptionError:
        return DataCorruptionError(f'the dataset "{self.name}" is no readable {self.path.suffix} file: {error}')
