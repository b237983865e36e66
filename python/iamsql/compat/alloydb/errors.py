"""The engine's errors → the official exceptions of the AlloyDB connector."""

from __future__ import annotations

from typing import Any

from ...errors import ClosedError, Error, HandshakeError, NotFoundError, PermissionDeniedError, UnavailableError
from .. import translation
from .exceptions import ClosedConnectorError, IPTypeNotFoundError


def official(error: Error, ip_type: str | None = None) -> BaseException:
    """What the official connector would have raised, or the nearest to it."""
    if isinstance(error, ClosedError):
        return closed(error)
    if isinstance(error, HandshakeError):
        return translation.mixed(error, ValueError)
    if isinstance(error, (PermissionDeniedError, NotFoundError, UnavailableError)):
        if error.http_status is not None:
            return _api_error(error, error.http_status)
        if isinstance(error, NotFoundError) and ip_type is not None:
            text = f"AlloyDB instance does not have an IP addresses matching type: '{ip_type}'"
            return translation.plain(error, IPTypeNotFoundError, text)
    return translation.common(error)


def closed(error: Error | None = None) -> BaseException:
    """The refusal of a connector that was closed."""
    text = "Connection attempt failed because the connector has already been closed."
    return ClosedConnectorError(text) if error is None else translation.plain(error, ClosedConnectorError, text)


def _api_error(error: Error, status: int) -> BaseException:
    try:
        from google.api_core import exceptions
    except ImportError:
        return error
    kinds: dict[int, type[Exception]] = {
        400: exceptions.InvalidArgument,
        401: exceptions.Unauthenticated,
        403: exceptions.PermissionDenied,
        404: exceptions.NotFound,
        429: exceptions.ResourceExhausted,
        500: exceptions.InternalServerError,
        503: exceptions.ServiceUnavailable,
        504: exceptions.DeadlineExceeded,
    }
    attributes: dict[str, Any] = {
        "code": status,
        "_errors": (),
        "_details": (),
        "_response": None,
        "_error_info": None,
    }
    return translation.mixed(error, kinds.get(status, exceptions.GoogleAPICallError), **attributes)
