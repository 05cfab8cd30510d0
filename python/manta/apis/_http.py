"""Requests to a manager over TLS, TCP or a Unix socket, with the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from manta._errors import ManagerRefused, ManagerUnreachable, bad_argument

ADDRESS_DEFAULT = "http://127.0.0.1:7766"
_PORT_DEFAULT = 7766
_TIMEOUT_S = 60.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Connection:
    """Where a manager is, and who asks.

    Parameters
    ----------
    address : str, optional
        ``https://host:port``, ``http://host:port`` or ``unix:/path``; else ``MANTA_MANAGER``, else port 7766 of this
        machine.
    token : str, optional
        Else ``MANTA_TOKEN``, else what is in ``token_file``.
    token_file : path, optional
        Else ``MANTA_TOKEN_FILE``.
    cluster : str, optional
        Else ``MANTA_CLUSTER``, else the first cluster.
    ca_file : path, optional
        The certificate by which a manager at an ``https://`` address is recognised; else ``MANTA_CA_FILE``, else what
        this machine trusts.
    """

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        *,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.address = address or os.environ.get("MANTA_MANAGER") or ADDRESS_DEFAULT
        self.cluster = cluster or os.environ.get("MANTA_CLUSTER") or "default"
        self._token = token or _token(token_file)
        parts = urlsplit(self.address)
        if parts.scheme not in ("https", "http", "unix") or not (parts.hostname or parts.path):
            form = "`https://host:port`, `http://host:port` or `unix:/path`"
            raise bad_argument(f"a manager's address is {form}, not {self.address!r}")
        self._parts = parts
        self._ca_file = ca_file or os.environ.get("MANTA_CA_FILE")
        self._trust = _trust(self._ca_file) if parts.scheme == "https" else None

    def environment(self) -> dict[str, str]:
        """Return what makes the ``manta`` program speak to the same manager."""
        told = {"MANTA_MANAGER": self.address, "MANTA_TOKEN": self._token, "MANTA_CLUSTER": self.cluster}
        return {**told, "MANTA_CA_FILE": os.path.abspath(self._ca_file)} if self._ca_file else told

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON answer to a question."""
        return json.loads(self._ask("GET", path, query))

    def bytes_of(self, digest: str) -> bytes:
        """Return a blob."""
        return self._ask("GET", f"/blobs/{digest}", {})

    def change(self, path: str, **query: Any) -> Any:
        """Order something, once however often it is sent, and return the JSON answer."""
        return json.loads(self._ask("POST", path, query, {"Idempotency-Key": str(uuid.uuid4())}))

    def stream(self, path: str, after: int = 0, **query: Any) -> Iterator[Any]:
        """Yield what a stream of events tells behind ``after``, until it ends or breaks off."""
        asked = {**query, "after": after, "follow": "true"}
        try:
            with self._answer("GET", path, asked, {"Accept": "text/event-stream"}) as answer:
                for line in answer:
                    name, _, value = line.decode().rstrip("\r\n").partition(":")
                    if name == "data":
                        yield json.loads(value)
        except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
            if isinstance(error, ManagerUnreachable):
                raise

    def _ask(self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
        try:
            with self._answer(method, path, query, headers or {}) as answer:
                return answer.read()
        except (http.client.HTTPException, TimeoutError) as error:
            raise self._unreachable(error) from error

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        asked = {key: value for key, value in query.items() if value is not None}
        target = f"/v1/clusters/{quote(self.cluster, safe='')}{path}{'?' if asked else ''}{urlencode(asked)}"
        connection = self._connection()
        try:
            try:
                connection.request(method, target, headers={"Authorization": f"Bearer {self._token}", **headers})
                answer = connection.getresponse()
            except OSError as error:
                raise self._unreachable(error) from error
            if answer.status >= 400:
                raise _refusal(answer)
            yield answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._parts.scheme == "unix":
            return _UnixConnection(self._parts.path, _TIMEOUT_S)
        host, port = str(self._parts.hostname), self._parts.port
        if self._trust is None:
            return http.client.HTTPConnection(host, port or _PORT_DEFAULT, timeout=_TIMEOUT_S)
        port = port or _PORT_DEFAULT
        proxy = urlsplit(urllib.request.getproxies().get("https", ""))
        if not proxy.hostname or urllib.request.proxy_bypass(f"{host}:{port}"):
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._trust)
        through = http.client.HTTPSConnection(proxy.hostname, proxy.port or 80, timeout=_TIMEOUT_S, context=self._trust)
        through.set_tunnel(host, port)
        return through

    def _unreachable(self, error: BaseException) -> ManagerUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "name the `ca.pem` of the manager's data directory in MANTA_CA_FILE"
            told = f"the manager at {self.address} is not trusted: {error.verify_message}"
            return ManagerUnreachable(told, hint=hint)
        hint = "is it running? `manta manager run` prints its address; or name it in MANTA_MANAGER"
        return ManagerUnreachable(f"no manager answers at {self.address}: {error}", hint=hint)


def _trust(file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    try:
        trust = ssl.create_default_context(cafile=file)
    except OSError as error:
        named = os.fspath(file) if file else "of this machine"
        hint = "name the `ca.pem` of the manager's data directory"
        raise bad_argument(f"the CA file `{named}` cannot be used: {error}", hint=hint) from error
    trust.minimum_version = ssl.TLSVersion.TLSv1_3
    return trust


def _token(file: str | os.PathLike[str] | None) -> str:
    if file is None and os.environ.get("MANTA_TOKEN"):
        return os.environ["MANTA_TOKEN"]
    named = file or os.environ.get("MANTA_TOKEN_FILE")
    if not named:
        hint = "set MANTA_TOKEN_FILE to the `token` file in the manager's data directory"
        raise bad_argument("no token was given for the manager", hint=hint)
    try:
        return Path(named).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise bad_argument(f"the token file `{os.fspath(named)}` cannot be read: {error.strerror}") from error


def _refusal(answer: http.client.HTTPResponse) -> ManagerRefused:
    try:
        told = json.loads(answer.read())
        message, code, hint = str(told["detail"]), str(told["code"]), told.get("hint")
    except (ValueError, KeyError, TypeError):
        message, code, hint = f"the manager answered {answer.status} {answer.reason}", "MANTA-0800", None
    return ManagerRefused(message, code=code, status=answer.status, hint=hint)
