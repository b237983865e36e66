"""The engine's errors → the official exceptions of the Cloud SQL connector."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ...errors import ClosedError, DnsError, Error, NotFoundError, PermissionDeniedError, UnavailableError
from .. import translation
from .exceptions import (
    AutoIAMAuthNotSupported,
    ClosedConnectorError,
    CloudSQLIPTypeError,
    DnsLoopError,
    DnsResolutionError,
)


def official(
    error: Error, *, version: str | None = None, iam: bool = False, ip_type: str | None = None
) -> BaseException:
    """What the official connector would have raised, or the nearest to it."""
    if isinstance(error, ClosedError):
        return closed(error)
    if isinstance(error, DnsError):
        kind = DnsLoopError if "loop" in error.message or "circle" in error.message else DnsResolutionError
        return translation.plain(error, kind, error.message)
    if version is not None and iam and not version.startswith(("POSTGRES", "MYSQL")):
        return translation.plain(
            error,
            AutoIAMAuthNotSupported,
            f"'{version}' does not support automatic IAM authentication. It is only supported with Cloud SQL Postgres "
            "or MySQL instances.",
        )
    if isinstance(error, (PermissionDeniedError, NotFoundError, UnavailableError)):
        if error.http_status is not None:
            return _api_error(error)
        if isinstance(error, NotFoundError) and version is not None:
            text = f"Cloud SQL instance does not have any IP addresses matching preference: {ip_type}"
            return translation.plain(error, CloudSQLIPTypeError, text)
    return translation.common(error)


def closed(error: Error | None = None) -> BaseException:
    """The refusal of a connector that was closed."""
    text = "Connection attempt failed because the connector has already been closed."
    return ClosedConnectorError(text) if error is None else translation.plain(error, ClosedConnectorError, text)


def _api_error(error: Error) -> BaseException:
    try:
        from aiohttp import ClientResponseError
    except ImportError:
        return error
    attributes: dict[str, Any] = {
        "status": error.http_status,
        "history": (),
        "headers": None,
        "request_info": SimpleNamespace(url="", real_url="", method="", headers={}),
    }
    return translation.mixed(error, ClientResponseError, **attributes)
