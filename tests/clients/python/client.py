"""Carries out one request (a line of JSON on standard input) through the Python package, and prints the outcome."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import iamsql

QUERY = "select current_user, current_setting('server_version')"


def main() -> None:
    request = json.loads(sys.stdin.readline())
    begun = time.monotonic()
    try:
        if request["driver"] in ("asyncpg", "psycopg-async"):
            user, version = asyncio.run(ask_async(request))
        else:
            user, version = ask(request)
        outcome: dict[str, Any] = {"user": user, "version": version}
    except Exception as error:
        # Every failure of the connect is one of ours; another class is a defect and shows as a wrong code.
        outcome = {
            "code": getattr(error, "code", type(error).__name__),
            "message": str(error),
            "advice": getattr(error, "advice", None),
        }
    print(json.dumps(outcome | {"seconds": time.monotonic() - begun}))


def ask(request: dict[str, Any]) -> tuple[str, str]:
    with iamsql.Connector(**connector_arguments(request)) as connector:
        connection = connector.connect(request["instance"], request["driver"], **connect_arguments(request))
        try:
            cursor = connection.cursor()
            cursor.execute(QUERY)
            return tuple(cursor.fetchone())
        finally:
            connection.close()


async def ask_async(request: dict[str, Any]) -> tuple[str, str]:
    driver = request["driver"].removesuffix("-async")
    async with iamsql.Connector(**connector_arguments(request)) as connector:
        connection = await connector.connect_async(request["instance"], driver, **connect_arguments(request))
        try:
            if driver == "asyncpg":
                return tuple(await connection.fetchrow(QUERY))
            cursor = await connection.execute(QUERY)
            return tuple(await cursor.fetchone())
        finally:
            await connection.close()


def connector_arguments(request: dict[str, Any]) -> dict[str, Any]:
    names = {"timeout": "timeout", "admin_endpoint": "sqladmin_api_endpoint"}
    return {ours: request[key] for key, ours in names.items() if request[key] is not None}


def connect_arguments(request: dict[str, Any]) -> dict[str, Any]:
    names = {"user": "user", "password": "password", "iam": "enable_iam_auth", "ip_type": "ip_type"}
    given = {ours: request[key] for key, ours in names.items() if request[key] is not None}
    return {"db": "mydb"} | given


if __name__ == "__main__":
    main()
