"""PyMySQL on the blocking face: it reads and writes through our socket, TLS runs on its own thread."""

from __future__ import annotations

import pymysql

from ..errors import ConfigError
from . import mysql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..login import Login

NAME = "pymysql"
ENGINE = "MYSQL"


class ReconnectError(ConfigError, pymysql.err.InterfaceError):  # type: ignore[misc]
    """PyMySQL was asked to connect by itself, which it would do without TLS and to wherever it believes."""


class Connection(pymysql.connections.Connection):  # type: ignore[misc]
    """One that never opens a socket: where the engine is not in between, anybody may be who answers."""

    def connect(self, sock: Any = None) -> None:
        """Refused, and so is `ping(reconnect=True)` of a connection that has ended.

        Raises:
            ReconnectError: always.
        """
        raise ReconnectError("PyMySQL cannot reconnect by itself: connect again through iamsql")


def connect(login: Login) -> pymysql.connections.Connection:
    """A `pymysql.connections.Connection`, logged in."""
    extra = mysql.without_tls(login.extra)
    if extra.pop("defer_connect", False):
        raise ConfigError("defer_connect: PyMySQL cannot connect by itself, leave it out")
    connection = Connection(
        host="iamsql.invalid",
        user=login.asked or "",
        password=login.password or "",
        database=login.database,
        defer_connect=True,
        ssl_disabled=True,
        **extra,
    )
    socket, user = login.dial()
    connection.user = user.encode(connection.encoding)
    # It believes that no socket is which it did not open itself, and this one is encrypted: with caching_sha2_password
    # server and client must agree about that.
    connection._secure = True
    socket.set_deadline(login.remaining())
    try:
        pymysql.connections.Connection.connect(connection, socket)
    except BaseException as error:
        socket.close()
        broken = socket.failure
        if isinstance(broken, TimeoutError) or isinstance(getattr(error, "original_exception", None), TimeoutError):
            raise login.overdue() from error
        if broken is not None:
            raise broken from error
        text = mysql.refusal(error)
        if text is None:
            raise
        raise login.refused(text, user) from error
    socket.set_deadline(None)
    return connection
