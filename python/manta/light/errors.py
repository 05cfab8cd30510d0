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
    """``local``, ``world`` or the like was used in a process that runs no task."""

    code = "MANTA-0801"


class DatasetNotAuthorized(MantaError, PermissionError):
    """The module does not list the dataset that the task asked for."""

    code = "MANTA-0802"

    __str__ = MantaError.__str__


class ResultNotFound(MantaError, KeyError):
    """No predecessor published a result of that name."""

    code = "MANTA-0803"


class GlobalNotFound(MantaError, KeyError):
    """The swarm has no global of that name."""

    code = "MANTA-0804"


class DataCorruptionError(MantaError):
    """A dataset or a value is damaged. Task code may raise it, too."""

    code = "MANTA-0805"


class ResourceExhaustionError(MantaError):
    """The attempt ran out of a resource. Task code may raise it, too.

    Attributes
    ----------
    limit : str, optional
        The limit that stands in the way, such as ``"memory"`` or ``"results"``; ``None`` where task code raised it.
    """

    code = "MANTA-0806"
    limit: Optional[str] = None


class AgentConnectionLost(MantaError, ConnectionError):
    """The node's agent no longer answers this attempt."""

    code = "MANTA-0807"

    __str__ = MantaError.__str__


class UnknownTarget(MantaError, ValueError):
    """A task alias or a node that the swarm does not know was named."""

    code = "MANTA-0808"


class InvalidArgument(MantaError, ValueError):
    """An argument has a type or value that the call cannot take."""

    code = "MANTA-0809"


class DatasetUnavailable(MantaError, FileNotFoundError):
    """The node lacks the dataset, or the path inside it does not exist."""

    code = "MANTA-0810"

    __str__ = MantaError.__str__


class ValueNotCarried(MantaError, TypeError):
    """A value holds something that cannot be carried to another process."""

    code = "MANTA-0108"
