"""psycopg2 on the private listener."""

from __future__ import annotations

import psycopg2

from . import inherited, libpq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..login import Login

NAME = "psycopg2"
ENGINE = "POSTGRES"


def connect(login: Login) -> Any:
    """A psycopg2 connection, logged in."""
    listener, user = login.park()
    try:
        connection = psycopg2.connect(**libpq.parameters(login, listener, user))
    except psycopg2.OperationalError as error:
        reason = libpq.reason(error, login)
        if reason is not None:
            raise reason from error
        text = libpq.refusal(error)
        if text is not None:
            raise login.refused(text, user) from error
        if "timeout expired" in str(error):
            raise login.overdue() from error
        raise
    inherited.keep_from_children(connection)
    return connection
