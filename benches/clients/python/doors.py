"""How each side of a comparison opens a database connection: ours, Google's connector, and the bare floor.

Nothing is imported before it is needed, so that no side pays for another's modules.
"""

import os

INSTANCE = os.environ.get("BENCH_INSTANCE", "")
USER = os.environ.get("BENCH_USER", "")
DATABASE = os.environ.get("BENCH_DATABASE", "")


def target(driver):
    """The instance, the driver's own name and the user that a row's driver stands for."""
    if driver == "pymysql":
        return os.environ["BENCH_MYSQL_INSTANCE"], driver, USER.partition("@")[0]
    if driver.startswith("alloydb-"):
        return os.environ["BENCH_ALLOYDB_INSTANCE"], driver.removeprefix("alloydb-"), USER
    return INSTANCE, driver, USER


class Ours:
    """`iamsql.Connector`, as an application uses it."""

    def __init__(self):
        from iamsql import Connector

        self.connector = Connector()

    def connect(self, driver):
        instance, driver, user = target(driver)
        return self.connector.connect(instance, driver, user=user, db=DATABASE, enable_iam_auth=True)

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


class OfficialAlloyDb:
    """`google.cloud.alloydbconnector.Connector`; its gRPC finds whom to trust in the environment."""

    def __init__(self):
        from google.cloud.alloydbconnector import Connector

        self.connector = Connector(alloydb_api_endpoint=os.environ["IAMSQL_EMULATOR_GRPC_ENDPOINT"])

    connect = Ours.connect
    close = Ours.close


def open_door(side, driver):
    """The door of `side`, for blocking drivers."""
    if side == "floor":
        from floor import Floor

        return Floor()
    if side == "ours":
        return Ours()
    return OfficialAlloyDb() if driver.startswith("alloydb-") else Official()


async def open_async_door(side):
    """The door of `side`, for asyncio: made within the running loop."""
    if side == "floor":
        from floor import Floor

        return Floor()
    if side == "ours":
        return Ours()
    import asyncio

    return Official(loop=asyncio.get_running_loop())
