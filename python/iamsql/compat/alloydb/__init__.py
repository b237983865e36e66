"""Stands for `google.cloud.alloydbconnector`: `from iamsql.compat.alloydb import Connector`."""

from ... import __version__
from .async_connector import AsyncConnector
from .connector import Connector
from .enums import IPTypes, RefreshStrategy

__all__ = [
    "__version__",
    "Connector",
    "AsyncConnector",
    "IPTypes",
    "RefreshStrategy",
]
