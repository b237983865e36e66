"""Connect to Cloud SQL with the process's own Google identity: no password, no key file.

from iamsql import Connector

connector = Connector()
connection = connector.connect("project:region:instance", "pg8000", db="mydb")
"""

import atexit
import os

from . import _native
from .connector import Connector, IpType, RefreshStrategy
from .errors import (
    ClosedError,
    ConfigError,
    CredentialsError,
    DnsError,
    DriverMismatchError,
    Error,
    HandshakeError,
    LoginError,
    MissingDriverError,
    NetworkError,
    NotFoundError,
    PermissionDeniedError,
    TimeoutError_,
    TlsError,
    UnavailableError,
)

__version__ = _native.__version__

__all__ = [
    "ClosedError",
    "ConfigError",
    "Connector",
    "CredentialsError",
    "DnsError",
    "DriverMismatchError",
    "Error",
    "HandshakeError",
    "IpType",
    "LoginError",
    "MissingDriverError",
    "NetworkError",
    "NotFoundError",
    "PermissionDeniedError",
    "RefreshStrategy",
    "TimeoutError_",
    "TlsError",
    "UnavailableError",
    "__version__",
]

# At import, so that exit handlers which are registered later, and run earlier, can still use their connections.
atexit.register(_native.shut_down)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.after_fork)
