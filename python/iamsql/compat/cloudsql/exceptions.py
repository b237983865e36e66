"""The official connector's exceptions. Those that this engine has a reason for are also `iamsql.Error`s."""

from __future__ import annotations

from ...errors import Error


class ConnectorLoopError(Exception):
    """Never raised: any event loop will do."""


class TLSVersionError(Exception):
    """Never raised: the engine brings its own TLS 1.3."""


class CloudSQLIPTypeError(Error):
    """The instance has no address of the type asked for."""

    code = "IAMSQL_NOT_FOUND"


class PlatformNotSupportedError(Error):
    """What was asked for does not exist on this platform."""

    code = "IAMSQL_CONFIG"


class AutoIAMAuthNotSupported(Error):
    """The instance's engine knows no IAM login."""

    code = "IAMSQL_CONFIG"


class RefreshNotValidError(Exception):
    """Never raised: a certificate that has ended is replaced before it is used."""


class IncompatibleDriverError(Error):
    """The driver is for another engine than the instance's."""

    code = "IAMSQL_CONFIG"


class DnsResolutionError(Error):
    """A domain name did not resolve to an instance."""

    code = "IAMSQL_DNS"


class DnsLoopError(DnsResolutionError):
    """A domain name's aliases lead in a circle."""


class CacheClosedError(Exception):
    """Never raised: there is no cache to close."""


class ClosedConnectorError(Error):
    """The connector was closed."""

    code = "IAMSQL_CLOSED"


class CloudSQLConnectionError(Exception):
    """A connection could not be established."""


class ResourceExhaustedError(CloudSQLConnectionError):
    """The SQL Data Service is busy."""

    def __init__(
        self,
        message: str,
        connection_name: str | None = None,
        raw_error: Exception | None = None,
    ) -> None:
        self.message = message
        self.connection_name = connection_name
        self.raw_error = raw_error
        text = f"[{connection_name}] {message}" if connection_name else message
        super().__init__(f"{text}: {raw_error}" if connection_name and raw_error else text)
