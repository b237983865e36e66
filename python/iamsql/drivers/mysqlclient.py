"""mysqlclient (`MySQLdb`) on the private listener."""

from __future__ import annotations

import math

import MySQLdb

from . import inherited, mysql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..login import Login

NAME = "mysqlclient"
ENGINE = "MYSQL"


def connect(login: Login) -> Any:
    """A `MySQLdb.connections.Connection`, logged in."""
    listener, user = login.park()
    given = mysql.parameters(login, listener, user)
    given.setdefault("connect_timeout", math.ceil(login.remaining()))
    if login.database is not None:
        given["database"] = login.database
    try:
        connection = MySQLdb.connect(**given)
    except MySQLdb.Error as error:
        raise_known(error, login, user)
        raise
    inherited.keep_from_children(connection)
    return connection


def raise_known(error: Exception, login: Login, user: str) -> None:
    """Raises what we know better than the driver."""
    reason = mysql.reason(error, login)
    if reason is not None:
        raise reason from error
    text = mysql.refusal(error)
    if text is not None:
        raise login.refused(text, user) from error
    if error.args and error.args[0] in _OVERDUE and "timed out" in str(error).lower():
        raise login.overdue() from error


_OVERDUE = (2002, 2003, 2013)
