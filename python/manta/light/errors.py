"""Every error that task code can meet, under one root."""

from typing import Optional

__all__ = [
    "AgentConnectionLost",
    "DataCorruptionError",
    "DatasetNotAuthorized",
    "DatasetUnavailable",
    "GlobalNotFound",
    "InvalidArgument",
    "MantaError",
    "OutsideSandbox",
    "ResourceExhaustionError",
    "ResultNotFound",
    "UnknownTarget",
    "ValueNotCarried",
]


class MantaError(Exception):
    """The root of all errors that Manta raises.

    Parameters
    ----------
    message : str
        One sentence: what happened, and where.
    hint : str, optional
        What to do about it.

    Attributes
    ----------
    code : str
        A stable code such as ``"MANTA-0803"``.
    retryable : bool
        Whether the same call may succeed later.

    Examples
    --------
    >>> error = MantaError("the table has no column `age`", hint="name one of: height")
    >>> print(error)
    the table has no column `age`
    hint: name one of: height
    >>> error.code, error.retryable
    ('MANTA-0800', False)
    """

    code: str = "MANTA-0800"
    retryable: bool = False

    def __init__(self, message: str = "", *, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class OutsideSandbox(MantaError, RuntimeError):
    """``local``, ``world`` or the like was used in a process that runs no task.

    Examples
    --------
    >>> try:
    ...     Local().get_resources()
    ... except OutsideSandbox as error:
    ...     print(error.code)
    MANTA-0801
    """

    code = "MANTA-0801"


class DatasetNotAuthorized(MantaError, PermissionError):
    """The module does not list the dataset that the task asked for.

    Examples
    --------
    >>> class Reads(Task):
    ...     def run(self):
    ...         self.local.get_dataset("mnist")
    >>> type(run_task(Reads, datasets={"mnits": b""}, check=False).error).__name__
    'DatasetNotAuthorized'
    """

    code = "MANTA-0802"

    __str__ = MantaError.__str__


class ResultNotFound(MantaError, KeyError):
    """No predecessor published a result of that name.

    Examples
    --------
    >>> class Asks(Task):
    ...     def run(self):
    ...         self.world.results.select("loss")
    >>> error = run_task(Asks, results={"los": [1.0]}, check=False).error
    >>> isinstance(error, KeyError), error.hint
    (True, 'did you mean "los"?')
    """

    code = "MANTA-0803"


class GlobalNotFound(MantaError, KeyError):
    """The swarm has no global of that name.

    Examples
    --------
    >>> class Asks(Task):
    ...     def run(self):
    ...         self.world.globals["rate"]
    >>> type(run_task(Asks, globals={}, check=False).error).__name__
    'GlobalNotFound'
    """

    code = "MANTA-0804"


class DataCorruptionError(MantaError):
    """A dataset or a value is damaged. Task code may raise it, too.

    Examples
    --------
    >>> class Reads(Task):
    ...     def run(self):
    ...         try:
    ...             self.local.get_numpy_data("digits")
    ...         except DataCorruptionError as error:
    ...             self.world.results.add("status", error.message)
    >>> run_task(Reads, datasets={"digits": b"no array"}).results["status"]
    '"digits" is neither an .npy nor an .npz file'
    """

    code = "MANTA-0805"


class ResourceExhaustionError(MantaError):
    """The attempt ran out of a resource. Task code may raise it, too.

    Attributes
    ----------
    limit : str, optional
        The limit that stands in the way, such as ``"memory"`` or ``"results"``; ``None`` where task code raised it.

    Examples
    --------
    >>> error = ResourceExhaustionError("no room for the batch")
    >>> error.code, error.limit
    ('MANTA-0806', None)
    """

    code = "MANTA-0806"
    limit: Optional[str] = None


class AgentConnectionLost(MantaError, ConnectionError):
    """The node's agent no longer answers this attempt.

    Examples
    --------
    >>> issubclass(AgentConnectionLost, ConnectionError)
    True
    """

    code = "MANTA-0807"

    __str__ = MantaError.__str__


class UnknownTarget(MantaError, ValueError):
    """A task alias or a node that the swarm does not know was named.

    Examples
    --------
    >>> issubclass(UnknownTarget, ValueError)
    True
    """

    code = "MANTA-0808"


class InvalidArgument(MantaError, ValueError):
    """An argument has a type or value that the call cannot take.

    Examples
    --------
    >>> class Charts(Task):
    ...     def run(self):
    ...         self.metrics.log({"loss": float("nan")})
    >>> print(run_task(Charts, check=False).error.message)
    metric "loss" is nan, and charts hold finite numbers only
    """

    code = "MANTA-0809"


class DatasetUnavailable(MantaError, FileNotFoundError):
    """The node lacks the dataset, or the path inside it does not exist.

    Examples
    --------
    >>> issubclass(DatasetUnavailable, FileNotFoundError)
    True
    """

    code = "MANTA-0810"

    __str__ = MantaError.__str__


class ValueNotCarried(MantaError, TypeError):
    """A value holds something that cannot be carried to another process.

    Examples
    --------
    >>> class Publishes(Task):
    ...     def run(self):
    ...         self.world.results.add("model", {"layers": [1.0, open]})
    >>> print(run_task(Publishes, check=False).error.message.split(":")[0])
    result "model"["layers"][1] cannot be carried
    """

    code = "MANTA-0108"
