"""pandas DataFrames and Arrow tables, as Arrow's own stream format; pyarrow is imported only where one occurs."""

import sys
from typing import Any, Optional, Tuple

from .._arrow_messages import unpacked_bytes

DATAFRAME = "dataframe"
ARROW = "arrow"

_CELLS_MAX = 1_000_000
"""Cells that a DataFrame may have however few its bytes are."""


def kind_of(value: Any) -> Optional[str]:
    """Return which tag ``value`` has as a table, if it is one; nothing is imported for it."""
    pandas, pyarrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    if pandas is not None and type(value) is getattr(pandas, "DataFrame", None):
        return DATAFRAME
    if pyarrow is not None and type(value) is getattr(pyarrow, "Table", None):
        return ARROW
    return None


def table_bytes(value: Any, kind: str) -> "Tuple[Optional[memoryview], Tuple[str, str]]":
    """Return a table's bytes; or ``None``, with the reason and what to write instead.

    Parameters
    ----------
    value : pandas.DataFrame or pyarrow.Table
        The table.
    kind : str
        What :func:`kind_of` said.
    """
    try:
        import pyarrow
    except ImportError:
        return None, ("a DataFrame is carried through pyarrow, which is not installed here", 'value.to_dict("list")')
    table = value
    if kind == DATAFRAME:
        try:
            table = pyarrow.Table.from_pandas(value)
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            reason = " ".join(str(part) for part in error.args)
            return None, (f"a column of the DataFrame has no Arrow type: {reason}", 'value.to_dict("list")')
        odd = _changed_columns(value, table)
        if odd is not None:
            return None, (f"the column {odd!r} of the DataFrame would come back as another type", "value.astype(...)")
    if kind == DATAFRAME and not _is_bounded(pyarrow, table):
        return None, ("the DataFrame has more empty cells than bytes", "value.dropna(axis=1, how='all')")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue()), ("", "")


def _changed_columns(frame: Any, table: Any) -> Optional[Any]:
    """Return a column whose dtype does not survive the way to Arrow and back, if there is one."""
    back = table.slice(0, 1).to_pandas() if len(frame) else table.to_pandas()
    if list(back.columns) != list(frame.columns):
        return "names"
    for name, ours, theirs in zip(frame.columns, frame.dtypes, back.dtypes):
        if ours != theirs:
            return name
    return None


def _is_bounded(pyarrow: Any, table: Any) -> bool:
    """Return whether a DataFrame of ``table`` takes memory in proportion to its bytes.

    Cells without bytes of their own (nulls, lists of no width) and cells that share bytes (views, runs) do not.
    """
    cells = sum(_cells(pyarrow, chunk) for column in table.columns for chunk in column.chunks)
    return bool(cells <= max(_CELLS_MAX, table.nbytes))


def _cells(pyarrow: Any, array: Any) -> int:
    """Return how many cells an array has, those inside it among them; no limit allows those that share bytes."""
    types, kind = pyarrow.types, array.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _cells(pyarrow, array.storage)
    if types.is_struct(kind):
        return len(array) + sum(_cells(pyarrow, array.field(number)) for number in range(kind.num_fields))
    if types.is_dictionary(kind):
        return len(array) + _cells(pyarrow, array.dictionary)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        return len(array) + _cells(pyarrow, array.values)
    shared = types.is_union(kind) or types.is_run_end_encoded(kind)
    return sys.maxsize if shared or "view" in str(kind) else len(array)


def table_from(buffer: memoryview, kind: str) -> Any:
    """Return the table that ``buffer`` holds; an Arrow table looks into the buffer.

    Raises
    ------
    ValueError
        If pyarrow or pandas is not there, or the bytes are no table.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ValueError("the value holds a table, and pyarrow is not installed here") from error
    try:
        if unpacked_bytes(buffer):
            raise ValueError("it is compressed, and a value's table never is")
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(buffer)) as reader:
            table = reader.read_all()
        table.validate(full=True)
        if kind == ARROW:
            return table
        if not _is_bounded(pyarrow, table):
            raise ValueError("it has more cells than its bytes account for")
        frame = table.to_pandas()
        if frame.columns.has_duplicates:
            raise ValueError("two columns of the DataFrame have one name")
        return frame
    except ImportError as error:
        raise ValueError("the value holds a DataFrame, and pandas is not installed here") from error
    except (pyarrow.ArrowException, OSError, TypeError, ValueError, KeyError, MemoryError) as error:
        raise ValueError(f"a table cannot be read: {error}") from error
