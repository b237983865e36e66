"""One connector, any thread, any event loop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import iamsql
from drivers import ALL, BLOCKING, answer, ask, ask_async
from emulator import DATABASE, IAM_USER, INSTANCE


@pytest.mark.parametrize("driver", ALL)
def test_many_threads_connect_at_once(connector, driver):
    with ThreadPoolExecutor(16) as threads:
        logins = [threads.submit(answer, connector, driver, INSTANCE, db=DATABASE) for _ in range(32)]
        assert [login.result() for login in logins] == [IAM_USER] * 32


def test_two_threads_fetch_settings_and_certificate_once(emulator):
    instance = emulator.instance("postgres")
    with iamsql.Connector(emulator_host=emulator.host) as connector, ThreadPoolExecutor(8) as threads:
        logins = [threads.submit(answer, connector, "pg8000", instance, db=DATABASE) for _ in range(8)]
        assert [login.result() for login in logins] == [IAM_USER] * 8
    asked = [call["endpoint"] for call in emulator.calls() if call["instance"] == instance]
    assert sorted(asked) == ["connectSettings", "generateEphemeralCert"]


def test_one_connector_serves_several_event_loops_in_several_threads(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        other = await connector.connect_async(INSTANCE, "psycopg", db=DATABASE)
        users = [await ask_async(connection) for _ in range(20)] + [await ask_async(other) for _ in range(20)]
        await connection.close()
        await other.close()
        return set(users)

    found = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{IAM_USER}] * 4


def test_one_connector_serves_one_loop_after_another(connector):
    async def main():
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        user = await ask_async(connection)
        await connection.close()
        return user

    assert [asyncio.run(main()) for _ in range(3)] == [IAM_USER] * 3


@pytest.mark.parametrize("driver", BLOCKING)
def test_a_query_leaves_other_threads_running(connector, driver):
    connection = connector.connect(INSTANCE, driver, db=DATABASE)
    done = threading.Event()

    def wait():
        ask(connection, "SELECT pg_sleep(1)::text")
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    turns = 0
    while not done.wait(0.01):
        turns += 1
    thread.join()
    connection.close()
    assert turns > 20


def test_the_blocking_socket_is_read_and_written_by_two_threads(emulator):
    """Both sides of one socket at once, more than any buffer holds: neither may wait for the other or for the GIL."""
    instance = emulator.instance("echo")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        socket, _ = connector._native.dial(instance, iam=True)
        sent = bytes(range(256)) * 64 * 1024
        received = bytearray()

        def receive():
            while len(received) < len(sent):
                received.extend(socket.recv(65536))

        reader = threading.Thread(target=receive)
        reader.start()
        socket.sendall(sent)
        reader.join(60)
        assert bytes(received) == sent
        socket.close()


def test_a_file_reads_what_was_asked_for_whatever_the_chunks(emulator):
    instance = emulator.instance("echo")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        socket, _ = connector._native.dial(instance, iam=True)
        file = socket.makefile("rwb")
        data = bytes(range(251)) * 1000
        assert file.write(memoryview(data)) == len(data)
        file.write(bytearray(b"end"))
        file.flush()
        sizes, start = [1, 5, 0, 100, 8191, 8192, 8193, 70_000], 0
        for size in sizes:
            assert file.read(size) == data[start : start + size]
            start += size
        assert file.read(len(data) - start + 3) == data[start:] + b"end"
        socket.shutdown(1)
        assert file.read(10) == b""
        socket.close()


def test_a_read_times_out_when_told_to(emulator):
    instance = emulator.instance("echo")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        socket, _ = connector._native.dial(instance, iam=True)
        socket.settimeout(0.2)
        assert socket.gettimeout() == 0.2
        with pytest.raises(TimeoutError):
            socket.recv(1)
        assert isinstance(socket.failure, TimeoutError)
        socket.settimeout(None)
        socket.close()


def test_close_wakes_a_reader(emulator):
    instance = emulator.instance("echo")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        socket, _ = connector._native.dial(instance, iam=True)
        raised = []

        def read():
            try:
                socket.recv(1)
            except OSError as error:
                raised.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        reader.join(0.3)
        assert reader.is_alive()
        socket.close()
        reader.join(5)
        assert raised
