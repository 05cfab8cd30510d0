"""Errors of authoring: made where a module, task or swarm is, or when a swarm is traced."""

from __future__ import annotations

from manta import _codes
from manta.light.errors import MantaError


class AuthoringError(MantaError, ValueError):
    """A module, task or swarm that cannot be deployed as it is written.

    Parameters
    ----------
    code : str
        One of ``manta._codes``.
    message : str
        One sentence.
    hint : str, optional
        What to write instead.
    where : str, optional
        ``file:line``, where it is known better than from the traceback.

    Examples
    --------
    >>> try:
    ...     Task(Module("worker", version="1.0.0"), maximum=0)
    ... except AuthoringError as error:
    ...     print(error.code, error.message)
    MANTA-0104 `maximum` is -1 for no limit, an int of at least 1, or a share in (0, 1], not 0
    """

    def __init__(self, code: str, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.where = where


def bad_argument(message: str, *, hint: str | None = None) -> AuthoringError:
    """Return the error of an argument that cannot be used."""
    return AuthoringError(_codes.BAD_ARGUMENT, message, hint=hint)


class ManagerRefused(MantaError):
    """The manager answered a request with no.

    Parameters
    ----------
    message : str
        One sentence.
    code : str
        The manager's code, e.g. ``"MANTA-0301"``.
    status : int
        The HTTP status.
    hint : str, optional
        What to do about it.

    Examples
    --------
    >>> error = ManagerRefused("there is no swarm `x`", code="MANTA-0301", status=404)
    >>> error.code, error.status, error.retryable
    ('MANTA-0301', 404, False)
    """

    def __init__(self, message: str, *, code: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status


class ManagerUnreachable(MantaError, ConnectionError):
    """Nobody answers at the manager's address.

    Examples
    --------
    >>> api = UserAPI("unix:/nowhere", token="a token")
    >>> try:
    ...     api.swarms()
    ... except ManagerUnreachable as error:
    ...     print(error.retryable)
    True
    """

    code = _codes.UNREACHABLE
    retryable = True

    __str__ = MantaError.__str__
