"""PyMySQL on the blocking face: it reads and writes through our socket, TLS runs on its own thread."""

from __future__ import annotations

import pymysql

from . import mysql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..login import Login

NAME = "pymysql"
ENGINE = "MYSQL"


def connect(login: Login) -> pymysql.connections.Connection:
    """A `pymysql.connections.Connection`, logged in."""
    extra = mysql.without_tls(login.extra)
    deferred = extra.pop("defer_connect", False)
    connection = pymysql.connections.Connection(
        host=login.instance,
        user=login.asked or "",
        password=login.password or "",
        database=login.database,
        defer_connect=True,
        ssl_disabled=True,
        **extra,
    )
    if deferred:
        return connection
    socket, user = login.dial()
    connection.user = user.encode(connection.encoding)
    # It believes that no socket is which it did not open itself, and this one is encrypted: with caching_sha2_password
    # server and client must agree about that.
    connection._secure = True
    socket.set_deadline(login.remaining())
    try:
        connection.connect(socket)
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
