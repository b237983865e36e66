"""The shape of Google's sample of an asyncpg pool."""

import asyncio
import os

import asyncpg
from google.cloud.sql.connector import create_async_connector


async def main() -> None:
    connector = await create_async_connector(sqladmin_api_endpoint=os.environ["SQLADMIN_ENDPOINT"])

    async def getconn(instance_connection_name: str, **kwargs) -> asyncpg.Connection:
        return await connector.connect_async(
            instance_connection_name,
            "asyncpg",
            user=os.environ["DB_IAM_USER"],
            db=os.environ["DB_NAME"],
            enable_iam_auth=True,
            **kwargs,
        )

    pool = await asyncpg.create_pool(os.environ["INSTANCE_CONNECTION_NAME"], connect=getconn, min_size=1, max_size=3)
    async with pool.acquire() as conn:
        print(await conn.fetchval("SELECT current_user"))
    await pool.close()
    await connector.close_async()


asyncio.run(main())
