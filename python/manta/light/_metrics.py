"""Live charts and progress bars."""

import math
from typing import Any, Dict, Mapping, Optional, SupportsFloat, SupportsIndex, Union

from . import _attempt
from ._names import check_name
from .errors import InvalidArgument

Number = Union[SupportsFloat, SupportsIndex]


class Metrics:
    """Sends numbers to the charts of the swarm. Live, and not part of the attempt's outcome.

    Examples
    --------
    >>> class Train(Task):
    ...     def run(self):
    ...         self.metrics.log({"loss": 0.5}, step=3)
    >>> run_task(Train).metrics
    [({'loss': 0.5}, 3)]
    """

    def log(self, values: Mapping[str, Number], step: Optional[int] = None) -> None:
        """Send one point for each name.

        Parameters
        ----------
        values : mapping of str to number
            Finite numbers; numpy scalars and arrays of one element are accepted.
        step : int, optional
            The point's place on the x axis; left out, points are counted.

        Raises
        ------
        InvalidArgument
            If a value is no finite number.
        """
        if not isinstance(values, Mapping):
            raise InvalidArgument(f'metrics.log takes a mapping such as {{"loss": 0.1}}, not {values!r}')
        numbers: Dict[str, float] = {}
        for name, value in values.items():
            numbers[check_name("metric", name)] = finite_number(f'metric "{name}"', value)
        if step is not None and (isinstance(step, bool) or not hasattr(step, "__index__")):
            raise InvalidArgument(f"the step of a metric is an int, not {step!r}")
        place = None if step is None else int(step)
        _attempt.current("metrics").notify("metrics", values=numbers, step=place)


def send_progress(done: Number, total: Optional[Number]) -> None:
    """Send the state of the attempt's progress bar."""
    whole = None if total is None else finite_number("total", total)
    part = finite_number("done", done)
    _attempt.current("progress").notify("progress", done=part, total=whole)


def finite_number(what: str, value: Any) -> float:
    """Return ``value`` as a float.

    Raises
    ------
    InvalidArgument
        If it is no number, or not finite.
    """
    if isinstance(value, (bool, str, bytes)) or (not hasattr(value, "__float__") and not hasattr(value, "__index__")):
        raise InvalidArgument(f"{what} is no number: {value!r}")
    try:
        number = float(value.item()) if hasattr(value, "item") else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"{what} is no single number: {error}") from None
    if not math.isfinite(number):
        raise InvalidArgument(f"{what} is {number}, and charts hold finite numbers only")
    return number
