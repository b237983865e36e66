"""The drivers as the tests see them: connect, ask one question, close, each in its own way."""

from __future__ import annotations

import asyncio

BLOCKING = ("pg8000", "psycopg", "psycopg2")
ASYNCHRONOUS = ("asyncpg", "psycopg")
ALL = (*BLOCKING, *(f"{name}-async" for name in ASYNCHRONOUS))


def ask(connection: object, question: str = "SELECT current_user") -> object:
    """The first column of the first row, over a blocking connection."""
    cursor = connection.cursor()
    cursor.execute(question)
    answer = cursor.fetchone()[0]
    cursor.close()
    return answer


async def ask_async(connection: object, question: str = "SELECT current_user") -> object:
    """The same over an asynchronous one."""
    if hasattr(connection, "fetchval"):
        return await connection.fetchval(question)
    if hasattr(connection, "execute"):
        cursor = await connection.execute(question)
        return (await cursor.fetchone())[0]
    async with connection.cursor() as cursor:
        await cursor.execute(question)
        return (await cursor.fetchone())[0]


async def close_async(connection: object) -> None:
    """Ends it politely: MySQL's drivers call that something else than `close`."""
    await getattr(connection, "ensure_closed", connection.close)()


def answer(connector: object, driver: str, instance: str, question: str = "SELECT current_user", **kwargs: object):
    """Connects with one of `ALL`, asks, closes."""
    name, _, mode = driver.partition("-")
    if mode == "async":
        return asyncio.run(_answer_async(connector, name, instance, question, kwargs))
    connection = connector.connect(instance, name, **kwargs)
    try:
        return ask(connection, question)
    finally:
        connection.close()


async def _answer_async(connector, driver, instance, question, kwargs):
    connection = await connector.connect_async(instance, driver, **kwargs)
    try:
        return await ask_async(connection, question)
    finally:
        await close_async(connection)
