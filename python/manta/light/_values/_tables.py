"""pandas DataFrames and Arrow tables, as Arrow's own stream format; pyarrow is imported only where one occurs."""

import sys
from typing import Any, Optional, Tuple

DATAFRAME = "dataframe"
ARROW = "arrow"


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
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(buffer)) as reader:
            table = reader.read_all()
        table.validate(full=True)
        return table.to_pandas() if kind == DATAFRAME else table
    except ImportError as error:
        raise ValueError("the value holds a DataFrame, and pandas is not installed here") from error
    except (pyarrow.ArrowException, OSError, TypeError, ValueError, KeyError, MemoryError) as error:
        raise ValueError(f"a table cannot be read: {error}") from error
