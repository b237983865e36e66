"""Closing, garbage collection and interpreter exit leave nothing behind and never hang."""

import asyncio
import gc
import os
import pathlib
import time

import pytest

import iamsql
from drivers import ALL, BLOCKING, answer, ask, ask_async
from emulator import DATABASE, IAM_USER, INSTANCE


@pytest.mark.parametrize("driver", ALL)
def test_a_closed_connector_refuses(emulator, driver):
    connector = iamsql.Connector(emulator_host=emulator.host)
    connector.close()
    connector.close()
    with pytest.raises(iamsql.ClosedError):
        answer(connector, driver, INSTANCE, db=DATABASE)


@pytest.mark.parametrize("driver", BLOCKING)
def test_open_connections_outlive_their_connector(emulator, driver):
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        connection = connector.connect(INSTANCE, driver, db=DATABASE)
    del connector
    gc.collect()
    assert ask(connection) == IAM_USER
    connection.close()


def test_both_kinds_of_with_close(emulator):
    async def main():
        async with iamsql.Connector(emulator_host=emulator.host) as connector:
            connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        with pytest.raises(iamsql.ClosedError):
            await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        assert await ask_async(connection) == IAM_USER
        await connection.close()

    asyncio.run(main())


def test_a_listener_goes_with_its_connector(emulator):
    connector = iamsql.Connector(emulator_host=emulator.host)
    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    directory = pathlib.Path(connection.info.host)
    assert directory.stat().st_mode & 0o777 == 0o700
    connector.close()
    assert not directory.exists()
    assert ask(connection) == IAM_USER
    connection.close()


def test_a_forgotten_connector_takes_its_listener_along(emulator):
    connector = iamsql.Connector(emulator_host=emulator.host)
    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    directory = pathlib.Path(connection.info.host)
    connection.close()
    del connector
    gc.collect()
    assert not directory.exists()


def test_a_removed_directory_is_made_anew(connector):
    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    directory = pathlib.Path(connection.info.host)
    connection.close()
    for entry in directory.iterdir():
        entry.unlink()
    directory.rmdir()
    assert answer(connector, "psycopg", INSTANCE, db=DATABASE) == IAM_USER


@pytest.mark.parametrize("driver", BLOCKING)
def test_forgotten_connections_are_closed(emulator, driver):
    instance = emulator.instance("postgres")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        connections = [connector.connect(instance, driver, db=DATABASE) for _ in range(4)]
        assert sum(session["open"] for session in emulator.sessions(instance)) == 4
        del connections
        gc.collect()
        deadline = time.monotonic() + 10
        while any(session["open"] for session in emulator.sessions(instance)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_descriptors_are_given_back(connector):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    for driver in ALL:
        answer(connector, driver, INSTANCE, db=DATABASE)
    gc.collect()
    before = descriptors()
    for _ in range(10):
        for driver in ALL:
            answer(connector, driver, INSTANCE, db=DATABASE)
    gc.collect()
    deadline = time.monotonic() + 10
    while descriptors() > before + 2:
        assert time.monotonic() < deadline, (before, descriptors())
        time.sleep(0.1)


def test_no_descriptor_reaches_a_program_that_is_started(run):
    ended = run(
        """
    import os, subprocess, iamsql
    connector = iamsql.Connector()
    held = [connector.connect(os.environ["INSTANCE"], d, db=os.environ["DATABASE"]) for d in ("pg8000", "psycopg")]
    shown = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout
    print(len(shown.split()))
    """
    )
    assert int(ended.stdout) <= 4  # three, and the directory that ls reads


EXITS = {
    "at rest": "",
    "with a thread in a read": """
    import threading
    threading.Thread(target=lambda: ask(held[0], "SELECT pg_sleep(30)"), daemon=True).start()
    time.sleep(0.3)
    """,
    "with a thread in a connect": """
    import threading
    for driver in ("pg8000", "psycopg"):
        threading.Thread(target=lambda: connector.connect(os.environ["HANGS"], driver, db="mydb"), daemon=True).start()
    time.sleep(0.3)
    """,
    "with a loop that is still running": """
    import asyncio, threading
    async def forever():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        while True:
            await connection.fetchval("SELECT pg_sleep(0.01)::text")
    threading.Thread(target=lambda: asyncio.run(forever()), daemon=True).start()
    time.sleep(0.5)
    """,
    "with a loop in a connect": """
    import asyncio, threading
    async def hang():
        await connector.connect_async(os.environ["HANGS"], "asyncpg", db=DATABASE)
    threading.Thread(target=lambda: asyncio.run(hang()), daemon=True).start()
    time.sleep(0.5)
    """,
    "by an exit handler that connects": """
    import atexit
    atexit.register(lambda: print("at exit:", ask(connector.connect(INSTANCE, "psycopg", db=DATABASE))))
    """,
    "by SystemExit": """
    raise SystemExit(0)
    """,
}


@pytest.mark.parametrize("how", list(EXITS))
def test_the_interpreter_exits_at_once(emulator, run, how):
    hangs = emulator.instance("echo")
    emulator.fault("connectSettings", "hang", instance=hangs)
    started = time.monotonic()
    ended = run(
        """
    import os, sys, time
    import iamsql
    INSTANCE, DATABASE = os.environ["INSTANCE"], os.environ["DATABASE"]

    def ask(connection, question="SELECT current_user"):
        cursor = connection.cursor()
        cursor.execute(question)
        return cursor.fetchone()[0]

    connector = iamsql.Connector()
    held = [connector.connect(INSTANCE, d, db=DATABASE) for d in ("pg8000", "psycopg", "psycopg2")]
    print(held[1].info.host, flush=True)
    """
        + EXITS[how],
        environment={"HANGS": hangs},
        timeout=30,
    )
    assert time.monotonic() - started < 15
    assert "panicked" not in ended.stderr
    assert "Fatal" not in ended.stderr
    directory = ended.stdout.splitlines()[0]
    assert not os.path.exists(directory)
    if "handler" in how:
        assert f"at exit: {IAM_USER}" in ended.stdout
