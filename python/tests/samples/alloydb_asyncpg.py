"""The shape of Google's sample of an asynchronous SQLAlchemy engine on AlloyDB."""

import asyncio
import os

import sqlalchemy
from google.cloud.alloydbconnector import AsyncConnector
from sqlalchemy.ext.asyncio import create_async_engine


async def main() -> None:
    async with AsyncConnector(alloydb_api_endpoint=os.environ["ALLOYDB_ENDPOINT"]) as connector:

        async def getconn():
            return await connector.connect(
                os.environ["ALLOYDB_INSTANCE"],
                "asyncpg",
                user=os.environ["DB_IAM_USER"],
                db=os.environ["DB_NAME"],
                enable_iam_auth=True,
            )

        engine = create_async_engine("postgresql+asyncpg://", async_creator=getconn)
        async with engine.connect() as conn:
            print((await conn.execute(sqlalchemy.text("SELECT current_user"))).scalar())
        await engine.dispose()


asyncio.run(main())
