"""python-tds on the blocking face: it reads and writes through our socket, TLS runs on its own thread."""

from __future__ import annotations

import sys

import pytds

from ..errors import LoginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..login import Login

NAME = "pytds"
ENGINE = "SQLSERVER"


class Transport:
    """The engine's socket, which pytds cannot leave for another server while it logs in.

    A server may answer a login with another's address. pytds closes the socket then and sends user and password there
    over one of its own, without TLS. Otherwise it closes only what failed.
    """

    def __init__(self, socket: Any, instance: str) -> None:
        self._socket = socket
        self._instance = instance
        self._handled = sys.exc_info()[1]
        self.logging_in = True

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._socket, name)
        if callable(value):
            self.__dict__[name] = value
        return value

    def close(self) -> None:
        self._socket.close()
        if self.logging_in and sys.exc_info()[1] is self._handled:
            raise LoginError(
                f"{self._instance}: the server sends the login on to another server, which iamsql does not follow",
                instance=self._instance,
                retryable=False,
            )


def connect(login: Login) -> Any:
    """A `pytds.Connection`, logged in."""
    socket, user = login.dial()
    transport = Transport(socket, login.instance)
    socket.set_deadline(login.remaining())
    try:
        connection = pytds.connect(
            login.instance,
            database=login.database or "",
            user=user,
            password=login.password or "",
            sock=transport,
            login_timeout=max(1, login.remaining()),
            **login.extra,
        )
    except LoginError:
        raise
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
    transport.logging_in = False
    socket.set_deadline(None)
    return connection


def _is_refusal(error: BaseException) -> bool:
    """18452 and 18456: the login failed."""
    return isinstance(error, pytds.LoginError) or getattr(error, "number", None) in (18452, 18456)
