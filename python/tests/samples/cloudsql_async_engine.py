"""The shape of Google's sample of an asynchronous SQLAlchemy engine."""

import asyncio
import os

import asyncpg
import sqlalchemy
from google.cloud.sql.connector import Connector
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


async def init_connection_pool(connector: Connector) -> AsyncEngine:
    async def getconn() -> asyncpg.Connection:
        return await connector.connect_async(
            os.environ["INSTANCE_CONNECTION_NAME"],
            "asyncpg",
            user=os.environ["DB_IAM_USER"],
            db=os.environ["DB_NAME"],
            enable_iam_auth=True,
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=getconn)


async def main() -> None:
    loop = asyncio.get_running_loop()
    async with Connector(loop=loop, sqladmin_api_endpoint=os.environ["SQLADMIN_ENDPOINT"]) as connector:
        pool = await init_connection_pool(connector)
        async with pool.connect() as conn:
            print((await conn.execute(sqlalchemy.text("SELECT current_user"))).scalar())
        await pool.dispose()


asyncio.run(main())
