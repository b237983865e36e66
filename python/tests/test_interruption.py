"""Cancel and ctrl-C: a query, a read and a connect that hang are given up when asked."""

import asyncio
import gc
import os
import threading
import time

import pytest

import iamsql
from emulator import DATABASE, IAM_USER, INSTANCE

INTERRUPT = """
    import os, signal, sys, threading, time
    import iamsql

    def interrupt_after(seconds):
        def send():
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=send, daemon=True).start()

    def interrupted(act):
        started = time.monotonic()
        try:
            act()
        except KeyboardInterrupt:
            took = time.monotonic() - started
            assert took < 3, took
        else:
            raise AssertionError("not interrupted")
"""


def test_ctrl_c_interrupts_a_blocking_read(run):
    run(
        INTERRUPT
        + """
    connector = iamsql.Connector()
    connection = connector.connect(os.environ["INSTANCE"], "pg8000", db=os.environ["DATABASE"])
    cursor = connection.cursor()
    interrupt_after(0.5)
    interrupted(lambda: cursor.execute("SELECT pg_sleep(30)"))
    """
    )


@pytest.mark.parametrize("driver", ["pg8000", "psycopg", "psycopg2"])
def test_ctrl_c_interrupts_a_blocking_connect(emulator, run, driver):
    instance = emulator.instance("echo")
    emulator.fault("connectSettings", "hang", instance=instance)
    run(
        INTERRUPT
        + """
    connector = iamsql.Connector()
    interrupt_after(0.5)
    interrupted(lambda: connector.connect(os.environ["INSTANCE"], os.environ["DRIVER"], db="mydb"))
    """,
        environment={"INSTANCE": instance, "DRIVER": driver},
    )


def test_ctrl_c_interrupts_a_login_that_stalls(emulator, run):
    instance = emulator.instance("echo")
    emulator.fault("tls", "stall", instance=instance)
    run(
        INTERRUPT
        + """
    connector = iamsql.Connector()
    interrupt_after(0.5)
    interrupted(lambda: connector.connect(os.environ["INSTANCE"], "pg8000", db="mydb"))
    """,
        environment={"INSTANCE": instance},
    )


def test_another_signals_handler_runs_within_a_read_which_goes_on(run):
    ended = run(
        """
    import os, signal, threading, time
    import iamsql
    signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
    connection = iamsql.Connector().connect(os.environ["INSTANCE"], "pg8000", db=os.environ["DATABASE"])
    cursor = connection.cursor()
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
    cursor.execute("SELECT pg_sleep(1)::text || 'slept'")
    print(cursor.fetchone()[0], flush=True)
    """
    )
    assert ended.stdout.split() == ["handled", "slept"]


def test_psycopg_cancels_a_query(connector):
    import psycopg

    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    threading.Timer(0.5, connection.cancel).start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - started < 10
    connection.rollback()
    assert connection.execute("SELECT current_user").fetchone()[0] == IAM_USER
    connection.close()


def test_psycopg2_cancels_a_query(connector):
    import psycopg2

    connection = connector.connect(INSTANCE, "psycopg2", db=DATABASE)
    threading.Timer(0.5, connection.cancel).start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        connection.cursor().execute("SELECT pg_sleep(30)")
    connection.close()


def test_asyncpg_cancels_a_query_on_the_server_when_its_task_is_cancelled(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        watcher = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        pid = connection.get_server_pid()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.fetchval("SELECT pg_sleep(30)"), 0.5)
        running = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'"
        for _ in range(50):
            if await watcher.fetchval(running, pid) == 0:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the query still runs")
        assert await connection.fetchval("SELECT current_user") == IAM_USER
        await connection.close()
        await watcher.close()

    asyncio.run(main())


def test_psycopgs_async_query_is_cancelled_with_its_task(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "psycopg", db=DATABASE)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.execute("SELECT pg_sleep(30)"), 0.5)
        await connection.rollback()
        cursor = await connection.execute("SELECT current_user")
        user = (await cursor.fetchone())[0]
        await connection.close()
        return user

    assert asyncio.run(main()) == IAM_USER


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_cancelled_connect_leaves_no_session(emulator, driver):
    instance = emulator.instance("echo")
    emulator.fault("tls", "stall", instance=instance)

    async def main():
        with iamsql.Connector(emulator_host=emulator.host) as connector:
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(connector.connect_async(instance, driver, db=DATABASE), 0.5)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    asyncio.run(main())
    assert len(emulator.sessions(instance)) >= 3
    deadline = time.monotonic() + 15
    while descriptors() > before + 2:  # the runtime's own, if this was its first use
        assert time.monotonic() < deadline, (before, descriptors())
        gc.collect()
        time.sleep(0.1)
