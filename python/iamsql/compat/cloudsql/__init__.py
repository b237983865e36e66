"""Stands for `google.cloud.sql.connector`: `from iamsql.compat.cloudsql import Connector`."""

from ... import __version__
from .connector import Connector, create_async_connector
from .enums import IPTypes, RefreshStrategy
from .resolver import DefaultResolver, DnsResolver

__all__ = [
    "Connector",
    "DefaultResolver",
    "DnsResolver",
    "IPTypes",
    "RefreshStrategy",
    "__version__",
    "create_async_connector",
]
