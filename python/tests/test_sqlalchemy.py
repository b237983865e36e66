"""SQLAlchemy on every driver: pool, pre-ping, transactions."""

import asyncio

import asyncpg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from drivers import ASYNCHRONOUS, BLOCKING
from emulator import DATABASE, IAM_USER, INSTANCE

WHO = sqlalchemy.text("SELECT current_user")
PID = sqlalchemy.text("SELECT pg_backend_pid()")


@pytest.mark.parametrize("driver", BLOCKING)
def test_an_engine_pools_connections(connector, driver):
    engine = sqlalchemy.create_engine(
        f"postgresql+{driver}://",
        creator=connector.creator(INSTANCE, driver, db=DATABASE),
        pool_size=2,
        pool_pre_ping=True,
    )
    with engine.connect() as one, engine.connect() as other:
        assert one.execute(WHO).scalar() == IAM_USER
        pids = {one.execute(PID).scalar(), other.execute(PID).scalar()}
    assert len(pids) == 2
    with engine.begin() as connection:
        assert connection.execute(PID).scalar() in pids
        connection.execute(sqlalchemy.text("CREATE TEMP TABLE seen (n int)"))
        connection.execute(sqlalchemy.text("INSERT INTO seen VALUES (:n)"), [{"n": n} for n in range(100)])
        assert connection.execute(sqlalchemy.text("SELECT sum(n) FROM seen")).scalar() == sum(range(100))
    engine.dispose()


@pytest.mark.parametrize("driver", BLOCKING)
def test_pre_ping_replaces_a_dead_connection(connector, driver):
    engine = sqlalchemy.create_engine(
        f"postgresql+{driver}://",
        creator=connector.creator(INSTANCE, driver, db=DATABASE),
        pool_size=1,
        pool_pre_ping=True,
    )
    other = connector.connect(INSTANCE, "pg8000", db=DATABASE)
    cursor = other.cursor()
    with engine.connect() as connection:
        dead = connection.execute(PID).scalar()
    cursor.execute("SELECT pg_terminate_backend(%s)", (dead,))
    assert cursor.fetchone()[0] is True
    other.close()
    with engine.connect() as connection:
        assert connection.execute(PID).scalar() != dead
    engine.dispose()


@pytest.mark.parametrize("driver", ASYNCHRONOUS)
def test_an_async_engine_pools_connections(connector, driver):
    async def main():
        engine = create_async_engine(
            f"postgresql+{driver}://",
            async_creator=connector.async_creator(INSTANCE, driver, db=DATABASE),
            pool_size=4,
            pool_pre_ping=True,
        )

        async def pid():
            async with engine.connect() as connection:
                assert await connection.scalar(WHO) == IAM_USER
                await connection.execute(sqlalchemy.text("SELECT pg_sleep(0.2)"))
                return await connection.scalar(PID)

        assert len(set(await asyncio.gather(*(pid() for _ in range(4))))) == 4
        await engine.dispose()

    asyncio.run(main())


def test_asyncpgs_own_pool_takes_a_creator(connector):
    async def main():
        pool = await asyncpg.create_pool(
            connect=connector.async_creator(INSTANCE, "asyncpg", db=DATABASE), min_size=2, max_size=4
        )
        users = await asyncio.gather(*(pool.fetchval("SELECT current_user") for _ in range(16)))
        await pool.close()
        return users

    assert asyncio.run(main()) == [IAM_USER] * 16
