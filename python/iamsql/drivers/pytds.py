"""python-tds on the blocking face: it reads and writes through our socket, TLS runs on its own thread."""

from __future__ import annotations

import pytds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..login import Login

NAME = "pytds"
ENGINE = "SQLSERVER"


def connect(login: Login) -> Any:
    """A `pytds.Connection`, logged in."""
    socket, user = login.dial()
    socket.set_deadline(login.remaining())
    try:
        connection = pytds.connect(
            login.instance,
            database=login.database or "",
            user=user,
            password=login.password or "",
            sock=socket,
            login_timeout=max(1, login.remaining()),
            **login.extra,
        )
    except BaseException as error:
        socket.close()
        broken = socket.failure
        if isinstance(broken, TimeoutError) or isinstance(error, pytds.TimeoutError):
            raise login.overdue() from error
        if broken is not None:
            raise broken from error
        if _is_refusal(error):
            raise login.refused(str(error), user) from error
        raise
    socket.set_deadline(None)
    return connection


def _is_refusal(error: BaseException) -> bool:
    """18452 and 18456: the login failed."""
    return isinstance(error, pytds.LoginError) or getattr(error, "number", None) in (18452, 18456)
