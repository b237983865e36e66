"""The official connector's exceptions. Those that this engine has a reason for are also `iamsql.Error`s."""

from __future__ import annotations

from ...errors import Error


class RefreshError(Exception):
    """Never raised: a certificate that has ended is replaced before it is used."""


class IPTypeNotFoundError(Error):
    """The instance has no address of the type asked for."""

    code = "IAMSQL_NOT_FOUND"


class ClosedConnectorError(Error):
    """The connector was closed."""

    code = "IAMSQL_CLOSED"
