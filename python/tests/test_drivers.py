"""Every driver logs in, as each kind of user, on a real PostgreSQL."""

import asyncio
import decimal

import pytest

import iamsql
from drivers import ALL, ASYNCHRONOUS, BLOCKING, answer, ask, ask_async
from emulator import DATABASE, IAM_USER, INSTANCE, SERVICE_ACCOUNT

pytestmark = pytest.mark.usefixtures("emulator")


@pytest.mark.parametrize("driver", ALL)
def test_nobody_named_logs_in_as_whoever_we_are(connector, driver):
    assert answer(connector, driver, INSTANCE, db=DATABASE) == IAM_USER


@pytest.mark.parametrize("driver", ALL)
def test_a_full_service_account_address_is_corrected(connector, driver):
    user = answer(connector, driver, INSTANCE, user=SERVICE_ACCOUNT, db=DATABASE, enable_iam_auth=True)
    assert user == IAM_USER


@pytest.mark.parametrize("driver", ALL)
def test_a_built_in_user_logs_in_with_its_password(connector, driver, password_user):
    name, password = password_user
    assert answer(connector, driver, INSTANCE, user=name, password=password, db=DATABASE) == name


@pytest.mark.parametrize("driver", ALL)
@pytest.mark.parametrize("keyword", ["db", "database", "dbname"])
def test_the_database_has_three_names(connector, driver, keyword):
    assert answer(connector, driver, INSTANCE, "SELECT current_database()", **{keyword: DATABASE}) == DATABASE


@pytest.mark.parametrize("driver", ALL)
def test_the_private_address_is_dialled_when_asked_for(emulator, connector, driver):
    listed = next(one for one in emulator.ready["instances"] if one["name"] == INSTANCE)["addresses"]["PRIVATE"]
    before = len(emulator.sessions(INSTANCE))
    answer(connector, driver, INSTANCE, db=DATABASE, ip_type="private")
    assert emulator.sessions(INSTANCE)[before]["server"] == listed


@pytest.mark.parametrize("driver", ALL)
def test_large_rows_arrive_whole(connector, driver):
    text = answer(connector, driver, INSTANCE, "SELECT repeat('0123456789abcdef', 200000)", db=DATABASE)
    assert text == "0123456789abcdef" * 200000


@pytest.mark.parametrize("driver", BLOCKING)
def test_large_parameters_arrive_whole(connector, driver):
    connection = connector.connect(INSTANCE, driver, db=DATABASE)
    cursor = connection.cursor()
    cursor.execute("SELECT length(%s)", ("x" * 3_000_000,))
    assert cursor.fetchone()[0] == 3_000_000
    connection.close()


def test_asyncpg_sends_large_parameters_whole(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        assert await connection.fetchval("SELECT length($1::text)", "x" * 3_000_000) == 3_000_000
        await connection.close()

    asyncio.run(main())


def test_asyncpg_copies_in_and_out_and_streams_with_a_cursor(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        await connection.execute("CREATE TEMP TABLE numbers (n int, half numeric)")
        rows = [(n, decimal.Decimal(n) / 2) for n in range(20_000)]
        await connection.copy_records_to_table("numbers", records=rows)
        async with connection.transaction():
            total = 0
            async for row in connection.cursor("SELECT n FROM numbers", prefetch=1000):
                total += row["n"]
        assert total == sum(range(20_000))
        await connection.close()

    asyncio.run(main())


def test_psycopg_copies_in_and_out(connector):
    with connector.connect(INSTANCE, "psycopg", db=DATABASE) as connection:
        connection.execute("CREATE TEMP TABLE lines (line text)")
        with connection.cursor().copy("COPY lines FROM STDIN") as copy:
            for n in range(20_000):
                copy.write_row((f"line {n}",))
        with connection.cursor().copy("COPY lines TO STDOUT") as copy:
            assert sum(len(chunk) for chunk in copy) == sum(len(f"line {n}\n") for n in range(20_000))


def test_options_of_the_driver_pass_through(connector):
    connection = connector.connect(INSTANCE, "pg8000", db=DATABASE, application_name="orders")
    assert ask(connection, "SELECT current_setting('application_name')") == "orders"
    connection.close()
    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE, autocommit=True, application_name="orders")
    assert connection.autocommit
    assert ask(connection, "SELECT current_setting('application_name')") == "orders"
    connection.close()


def test_the_environment_cannot_redirect_libpq(run):
    ended = run(
        """
        import os, iamsql
        c = iamsql.Connector()
        for driver in ("psycopg", "psycopg2"):
            connection = c.connect(os.environ["INSTANCE"], driver, db=os.environ["DATABASE"])
            cursor = connection.cursor()
            cursor.execute("SELECT current_user")
            print(cursor.fetchone()[0])
            connection.close()
        """,
        environment={
            "PGHOST": "203.0.113.1",
            "PGHOSTADDR": "203.0.113.1",
            "PGPORT": "1",
            "PGSSLMODE": "verify-full",
            "PGUSER": "somebody",
            "PGDATABASE": "elsewhere",
            "PGCHANNELBINDING": "require",
            "PGREQUIREPEER": "nobody",
        },
    )
    assert ended.stdout.split() == [IAM_USER, IAM_USER]


def test_where_to_connect_is_not_the_callers_to_say(connector):
    user = answer(connector, "psycopg", INSTANCE, db=DATABASE, host="203.0.113.1", port=1, ssl=True)
    assert user == IAM_USER


def test_psycopg_connects_blocking_or_asynchronously_as_asked(connector):
    import psycopg

    async def main():
        return await connector.connect_async(INSTANCE, "psycopg", db=DATABASE)

    blocking = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    assert isinstance(blocking, psycopg.Connection)
    blocking.close()
    assert isinstance(asyncio.run(main()), psycopg.AsyncConnection)


@pytest.mark.parametrize("driver", ["pg8000", "psycopg2"])
def test_blocking_drivers_connect_from_a_coroutine_too(connector, driver):
    async def main():
        return await connector.connect_async(INSTANCE, driver, db=DATABASE)

    connection = asyncio.run(main())
    assert ask(connection) == IAM_USER
    connection.close()


def test_the_user_is_told(connector):
    assert connector.user(INSTANCE) == IAM_USER
    assert asyncio.run(connector.user_async(INSTANCE)) == IAM_USER


@pytest.mark.parametrize("driver", ASYNCHRONOUS)
def test_uvloop_works_as_well(connector, driver):
    uvloop = pytest.importorskip("uvloop")

    async def main():
        connection = await connector.connect_async(INSTANCE, driver, db=DATABASE)
        assert await ask_async(connection) == IAM_USER
        big = await ask_async(connection, "SELECT repeat('x', 1000000)")
        await connection.close()
        return len(big)

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == 1_000_000
    finally:
        loop.close()


def test_asyncpg_falls_back_to_the_listener_on_a_loop_without_readers(connector):
    class Deaf(asyncio.SelectorEventLoop):
        def remove_reader(self, fd):
            raise NotImplementedError

    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        assert type(connection._transport).__name__ != "EngineTransport"
        user = await ask_async(connection)
        await connection.close()
        return user

    loop = Deaf()
    try:
        assert loop.run_until_complete(main()) == IAM_USER
    finally:
        loop.close()


def test_asyncpg_uses_the_transport_otherwise(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        name = type(connection._transport).__name__
        await connection.close()
        return name

    assert asyncio.run(main()) == "EngineTransport"


def test_a_refused_certificate_is_replaced_within_the_connect(emulator):
    for driver in ALL:
        instance = emulator.instance("postgres")
        with iamsql.Connector(emulator_host=emulator.host) as connector:
            assert answer(connector, driver, instance, db=DATABASE) == IAM_USER
            emulator.fault("tls", "refuse_certificate", instance=instance, times=1)
            assert answer(connector, driver, instance, db=DATABASE) == IAM_USER, driver
