"""One file per driver: how it takes a connection, and how it reports a refused login.

Each has `NAME` and `connect(login)`, `connect_async(login, loop)` or both.
"""

from __future__ import annotations

import sys

from ..errors import ConfigError, MissingDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KNOWN = ("asyncpg", "pg8000", "psycopg", "psycopg2")
"""The drivers that `connect` and `connect_async` take."""


def find(name: str) -> Any:
    """The file of the driver `name`, with the driver itself imported.

    Raises:
        ConfigError: there is no such driver here.
        MissingDriverError: its package is not installed.
    """
    if name not in KNOWN:
        raise ConfigError(f"unknown driver {name!r}: known are {', '.join(KNOWN)}")
    try:
        __import__(f"{__name__}.{name}")
    except ImportError as missing:
        raise MissingDriverError(
            f"the driver {name} cannot be imported: {missing}", advice=f'pip install "iamsql[{name}]"'
        ) from missing
    return sys.modules[f"{__name__}.{name}"]
