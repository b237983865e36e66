"""How each side of a comparison opens a database connection: ours, Google's connector, and the bare floor.

Nothing is imported before it is needed, so that no side pays for another's modules.
"""

import os

INSTANCE = os.environ.get("BENCH_INSTANCE", "")
USER = os.environ.get("BENCH_USER", "")
DATABASE = os.environ.get("BENCH_DATABASE", "")


class Ours:
    """`iamsql.Connector`, as an application uses it."""

    def __init__(self):
        from iamsql import Connector

        self.connector = Connector()

    def connect(self, driver):
        return self.connector.connect(INSTANCE, driver, user=USER, db=DATABASE, enable_iam_auth=True)

    async def connect_async(self, driver):
        return await self.connector.connect_async(INSTANCE, driver, user=USER, db=DATABASE, enable_iam_auth=True)

    def close(self):
        self.connector.close()

    async def close_async(self):
        await self.connector.close_async()


class Official:
    """`google.cloud.sql.connector.Connector`, pointed at the emulator by its own argument."""

    def __init__(self, loop=None):
        from google.cloud.sql.connector import Connector

        self.connector = Connector(loop=loop, sqladmin_api_endpoint=os.environ["BENCH_ADMIN_ENDPOINT"])

    connect = Ours.connect
    connect_async = Ours.connect_async
    close = Ours.close
    close_async = Ours.close_async


def open_door(side):
    """The door of `side`, for blocking drivers."""
    if side == "floor":
        from floor import Floor

        return Floor()
    return Ours() if side == "ours" else Official()


async def open_async_door(side):
    """The door of `side`, for asyncio: made within the running loop."""
    if side == "floor":
        from floor import Floor

        return Floor()
    if side == "ours":
        return Ours()
    import asyncio

    return Official(loop=asyncio.get_running_loop())
