"""What goes wrong, as exceptions: one class per error code of the engine, all below `Error`.

In: codes and texts from the engine.  Out: classes that can be caught by kind, by Python's own bases, or by `code`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Error(Exception):
    """Why a call failed.

    `str(error)` is one line: what failed, with its causes, then what to do about it.
    """

    code = "IAMSQL"
    """The kind as text, the same in every language."""

    retryable = False
    """Whether the same call may succeed later with nothing changed."""

    advice: str | None = None
    """What to do about it: a sentence, often with the command to run."""

    instance: str | None = None
    """The instance connection name that the call was for."""

    http_status: int | None = None
    """The HTTP status of the answer that caused this, if one did."""

    retry_at: float | None = None
    """When the server said to come back, in seconds since 1970, if it did."""

    errno: Any = None
    """The operating system's error number, if it was its error."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        advice: str | None = None,
        instance: str | None = None,
        http_status: int | None = None,
        retry_at: float | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if retryable is not None:
            self.retryable = retryable
        self.advice = advice
        self.instance = instance
        self.http_status = http_status
        self.retry_at = retry_at
        self.errno = errno

    def __str__(self) -> str:
        return f"{self.message} ({self.advice})" if self.advice else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        details = {name: getattr(self, name, None) for name in _DETAILS}
        return _rebuild, (type(self), self.message, details)


class ConfigError(Error, ValueError):
    """The name, an option or an environment variable cannot mean anything. Fix the call."""

    code = "IAMSQL_CONFIG"


class MissingDriverError(ConfigError, ImportError):
    """The driver asked for is not installed, or too old."""


class DriverMismatchError(ConfigError):
    """The driver speaks to another database than the instance runs."""


class CredentialsError(Error):
    """No usable Google credentials."""

    code = "IAMSQL_CREDENTIALS"


class PermissionDeniedError(Error):
    """The Admin API refused: 401 or 403. Grant the role that the advice names."""

    code = "IAMSQL_PERMISSION"


class NotFoundError(Error):
    """No such instance, or it lacks the address type asked for."""

    code = "IAMSQL_NOT_FOUND"


class UnavailableError(Error):
    """The Admin API or the metadata server could not be reached, or answered 429 or 5xx."""

    code = "IAMSQL_UNAVAILABLE"
    retryable = True


class DnsError(Error):
    """A domain name did not resolve to an instance."""

    code = "IAMSQL_DNS"
    retryable = True


class NetworkError(Error, ConnectionError):
    """TCP never connected, or the connection broke."""

    code = "IAMSQL_NETWORK"
    retryable = True


class TlsError(Error):
    """TLS failed: the server is not the instance, or the certificate was refused."""

    code = "IAMSQL_TLS"


class HandshakeError(Error):
    """The server refused the metadata exchange."""

    code = "IAMSQL_HANDSHAKE"


class LoginError(Error):
    """The database refused the login. Names the principal, the user asked for and the user that would work."""

    code = "IAMSQL_LOGIN"


class TimeoutError_(Error, TimeoutError):
    """The deadline passed. `except TimeoutError` catches it too."""

    code = "IAMSQL_TIMEOUT"
    retryable = True


class ClosedError(Error):
    """The connector was closed."""

    code = "IAMSQL_CLOSED"


BY_CODE: dict[str, type[Error]] = {
    error.code: error
    for error in (
        ConfigError,
        CredentialsError,
        PermissionDeniedError,
        NotFoundError,
        UnavailableError,
        DnsError,
        NetworkError,
        TlsError,
        HandshakeError,
        LoginError,
        TimeoutError_,
        ClosedError,
    )
}
"""The class of each error code."""

_DETAILS = ("retryable", "advice", "instance", "http_status", "retry_at", "errno")


def _rebuild(error: type[Error], message: str, details: dict[str, Any]) -> Error:
    return error(message, **details)
