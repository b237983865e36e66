"""One file per driver: how it takes a connection, and how it reports a refused login.

Each has `NAME`, `ENGINE`, and `connect(login)`, `connect_async(login, loop)` or both.
"""

from __future__ import annotations

import sys

from ..errors import ConfigError, DriverMismatchError, MissingDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BY_ENGINE = {
    "POSTGRES": ("asyncpg", "pg8000", "psycopg", "psycopg2"),
    "MYSQL": ("aiomysql", "asyncmy", "mysqlclient", "pymysql"),
    "SQLSERVER": ("pytds",),
}
"""The drivers that `connect` and `connect_async` take, by what begins the version of an instance that they speak to."""

KNOWN = tuple(sorted(name for names in BY_ENGINE.values() for name in names))

_ENGINES = {"POSTGRES": "PostgreSQL", "MYSQL": "MySQL", "SQLSERVER": "SQL Server"}


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


def refuse_mismatch(driver: Any, version: str, instance: str) -> None:
    """Refuses a driver that does not speak to a database of `version`, as in `POSTGRES_16`.

    Raises:
        DriverMismatchError: naming those that do.
    """
    if version.startswith(driver.ENGINE):
        return
    fitting = next((names for engine, names in BY_ENGINE.items() if version.startswith(engine)), ())
    raise DriverMismatchError(
        f"{instance}: {driver.NAME} speaks to {_ENGINES[driver.ENGINE]}, and the instance runs {version}",
        advice=f"use {' or '.join(fitting)}" if fitting else None,
        instance=instance,
    )
