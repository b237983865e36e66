"""psycopg 3 on the private listener: `connect` returns a Connection, `connect_async` an AsyncConnection."""

from __future__ import annotations

import psycopg

from . import inherited, libpq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any

    from ..login import Login

NAME = "psycopg"
ENGINE = "POSTGRES"


def connect(login: Login) -> psycopg.Connection[Any]:
    """A `psycopg.Connection`, logged in."""
    listener, user = login.park()
    try:
        connection = psycopg.connect(**libpq.parameters(login, listener, user))
    except psycopg.errors.ConnectionTimeout as error:
        raise login.overdue() from error
    except psycopg.OperationalError as error:
        reason = libpq.reason(error, login)
        if reason is not None:
            raise reason from error
        text = libpq.refusal(error)
        if text is None:
            raise
        raise login.refused(text, user) from error
    inherited.keep_from_children(connection)
    return connection


async def connect_async(login: Login, loop: AbstractEventLoop) -> psycopg.AsyncConnection[Any]:
    """A `psycopg.AsyncConnection` of `loop`, logged in."""
    listener, user = await login.park_async(loop)
    try:
        connection = await psycopg.AsyncConnection.connect(**libpq.parameters(login, listener, user))
    except psycopg.errors.ConnectionTimeout as error:
        raise login.overdue() from error
    except psycopg.OperationalError as error:
        reason = libpq.reason(error, login)
        if reason is not None:
            raise reason from error
        text = libpq.refusal(error)
        if text is None:
            raise
        raise await login.refused_async(loop, text, user) from error
    inherited.keep_from_children(connection)
    return connection
