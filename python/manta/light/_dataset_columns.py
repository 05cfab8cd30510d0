"""Datasets that are a table by columns, ``.parquet`` and ``.arrow``; pyarrow is imported where one is opened."""

from pathlib import Path
from typing import Any, Iterator, Tuple

from ._arrow_messages import unpacked_bytes
from ._dataset_arrays import require_numpy
from ._dataset_source import Source
from ._limits import MEMORY, memory_bytes_max
from ._names import did_you_mean
from .errors import DatasetUnavailable, MantaError, ResourceExhaustionError


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
        self._source = Source(name, path, f"{path.suffix or '.arrow'} file")
        with self._source.reading(self._pyarrow.ArrowException):
            with open(path, "rb") as file:
                is_parquet = file.read(4) == b"PAR1"
            if is_parquet:
                from pyarrow import parquet

                metadata = parquet.read_metadata(path)
                names, rows = metadata.schema.to_arrow_schema().names, metadata.num_rows
                self._unpacked = sum(
                    metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
                )
            else:
                self._table = self._mapped()
                names, rows = self._table.schema.names, self._table.num_rows
        self.columns: Tuple[str, ...] = tuple(names)
        self.shape: Tuple[int, int] = (rows, len(names))

    def to_arrow(self) -> Any:
        """Return the whole table as a ``pyarrow.Table``; an ``.arrow`` file is mapped and not copied."""
        if self._table is None:
            from pyarrow import parquet

            self._admit(self._unpacked)
            with self._source.reading(self._pyarrow.ArrowException):
                self._table = parquet.read_table(self.path)
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
        self._admit(unpacked_bytes(memoryview(source.read_buffer())))
        source.seek(0)
        try:
            table = pyarrow.ipc.open_file(source).read_all()
        except pyarrow.ArrowInvalid:
            source.seek(0)
            table = pyarrow.ipc.open_stream(source).read_all()
        table.validate(full=True)
        return table

    def _admit(self, size: int) -> None:
        """Refuse what would not fit when it is unpacked, before any of it is."""
        limit = memory_bytes_max()
        if size > limit:
            error = ResourceExhaustionError(
                f'the dataset "{self.name}" ({self.path.name}) takes {size} bytes when it is unpacked, '
                f"and this attempt may use {limit}",
                hint='ask for more: Module(..., resources={"memory": ...}), or cut the file into parts',
            )
            error.limit = MEMORY
            raise error
