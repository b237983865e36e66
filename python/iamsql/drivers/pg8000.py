"""pg8000 on the blocking face: it reads and writes through our socket, TLS runs on its own thread."""

from __future__ import annotations

import pg8000.dbapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..login import Login

NAME = "pg8000"
ENGINE = "POSTGRES"


def connect(login: Login) -> pg8000.dbapi.Connection:
    """A `pg8000.dbapi.Connection`, logged in."""
    socket, user = login.dial()
    socket.set_deadline(login.remaining())
    try:
        connection = pg8000.dbapi.connect(
            user,
            database=login.database,
            password=login.password,
            sock=socket,
            # None would build an SSL context and ask for TLS within TLS.
            ssl_context=False,
            **login.extra,
        )
    except BaseException as error:
        socket.close()
        # pg8000 wraps what the socket raised, or loses it when it says good-bye over the same socket.
        broken = socket.failure
        if isinstance(broken, TimeoutError):
            raise login.overdue() from error
        if broken is not None:
            raise broken from error
        text = _refusal(error)
        if text is None:
            raise
        raise login.refused(text, user) from error
    socket.set_deadline(None)
    return connection


def _refusal(error: BaseException) -> str | None:
    """What the server said, if `error` is a refused login."""
    if isinstance(error, pg8000.dbapi.DatabaseError) and error.args and isinstance(error.args[0], dict):
        fields = error.args[0]
        return fields.get("M", "") if fields.get("C") in ("28000", "28P01") else None
    asked_in_vain = isinstance(error, pg8000.dbapi.InterfaceError) and "no password" in str(error)
    # With SCRAM pg8000 decodes the password before it looks whether there is one.
    if asked_in_vain or (isinstance(error, AttributeError) and "NoneType" in str(error)):
        return "the server asks for a password, and there is none"
    return None
