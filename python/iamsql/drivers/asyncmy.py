"""asyncmy on the private listener."""

from __future__ import annotations

import asyncio

import asyncmy
import asyncmy.errors

from . import mysql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any

    from ..login import Login

NAME = "asyncmy"
ENGINE = "MYSQL"


async def connect_async(login: Login, loop: AbstractEventLoop) -> Any:
    """An `asyncmy.connection.Connection` of `loop`, logged in."""
    listener, user = await login.park_async(loop)
    given = mysql.parameters(login, listener, user)
    given.pop("loop", None)
    if login.database is not None:
        given["db"] = login.database
    try:
        return await asyncio.wait_for(asyncmy.connect(**given), login.remaining())
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise login.overdue() from error
    except asyncmy.errors.Error as error:
        reason = mysql.reason(error, login)
        if reason is not None:
            raise reason from error
        text = mysql.refusal(error)
        if text is None:
            raise
        raise await login.refused_async(loop, text, user) from error
