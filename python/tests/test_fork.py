"""A fork before, during and after use: the child starts afresh, the parent's connections stay whole."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PRELUDE = """
    import asyncio, os, sys, threading, warnings
    warnings.simplefilter("ignore")
    import iamsql
    INSTANCE, DATABASE = os.environ["INSTANCE"], os.environ["DATABASE"]
    BLOCKING = ("pg8000", "psycopg", "psycopg2")

    def ask(connection, question="SELECT current_user"):
        cursor = connection.cursor()
        cursor.execute(question)
        return cursor.fetchone()[0]

    def log_in(connector, driver):
        connection = connector.connect(INSTANCE, driver, db=DATABASE)
        try:
            return ask(connection)
        finally:
            connection.close()

    def in_child(act):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                act()
                code = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        return pid

    def reap(pid):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_a_connector_made_before_the_fork_works_in_every_child(run):
    run(
        PRELUDE
        + """
    connector = iamsql.Connector()
    children = [in_child(lambda d=d: log_in(connector, d)) for d in BLOCKING]
    for child in children:
        reap(child)
    for driver in BLOCKING:
        log_in(connector, driver)
    """
    )


def test_a_connector_in_use_works_in_children_and_grandchildren(run):
    run(
        PRELUDE
        + """
    connector = iamsql.Connector()
    open_ones = {d: connector.connect(INSTANCE, d, db=DATABASE) for d in BLOCKING}

    def child():
        for driver in BLOCKING:
            log_in(connector, driver)
        reap(in_child(lambda: log_in(connector, "pg8000")))

        async def main():
            connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
            user = await connection.fetchval("SELECT current_user")
            await connection.close()
            return user

        assert asyncio.run(main())

    for _ in range(3):
        reap(in_child(child))
    for connection in open_ones.values():
        ask(connection)
        connection.close()
    """
    )


def test_a_child_cannot_disturb_what_it_inherits(run):
    run(
        PRELUDE
        + """
    connector = iamsql.Connector()
    open_ones = {d: connector.connect(INSTANCE, d, db=DATABASE) for d in BLOCKING}
    for connection in open_ones.values():
        ask(connection)

    def child():
        for driver, connection in open_ones.items():
            try:
                ask(connection)
            except Exception as refused:
                print(driver, type(refused).__name__)
            else:
                raise AssertionError(driver)
            try:
                connection.close()
            except Exception:
                pass
        open_ones.clear()
        connector.close()
        import gc
        gc.collect()

    reap(in_child(child))
    for driver, connection in open_ones.items():
        ask(connection)
        connection.close()
    log_in(connector, "psycopg")
    """
    )


def test_a_fork_while_other_threads_connect_and_read(run):
    run(
        PRELUDE
        + """
    connector = iamsql.Connector()
    for driver in BLOCKING:
        log_in(connector, driver)  # or a child might inherit Python's lock on a module that is being imported
    stop = threading.Event()
    failures = []

    def work(driver):
        while not stop.is_set():
            try:
                log_in(connector, driver)
            except BaseException as error:
                failures.append((driver, error))
                return

    threads = [threading.Thread(target=work, args=(driver,)) for driver in BLOCKING * 2]
    for thread in threads:
        thread.start()
    for _ in range(8):
        reap(in_child(lambda: [log_in(connector, "pg8000"), log_in(connector, "psycopg")]))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    """,
        timeout=110,
    )


@pytest.mark.parametrize("driver", ["pg8000", "psycopg", "psycopg2", "asyncpg"])
def test_a_child_that_lives_on_does_not_hold_its_parents_sessions_open(run, emulator, driver):
    instance = emulator.instance("postgres")
    control = emulator.ready["control"]
    run(
        PRELUDE
        + """
    import json, signal, time, urllib.request

    def open_sessions():
        bearer = {"Authorization": os.environ["BEARER"]}
        request = urllib.request.Request(os.environ["CONTROL"] + "/sessions", headers=bearer)
        sessions = json.load(urllib.request.urlopen(request))
        return sum(one["open"] for one in sessions if one["instance"] == INSTANCE)

    connector = iamsql.Connector()
    driver = os.environ["DRIVER"]
    loop = asyncio.new_event_loop()
    if driver == "asyncpg":
        connection = loop.run_until_complete(connector.connect_async(INSTANCE, driver, db=DATABASE))
    else:
        connection = connector.connect(INSTANCE, driver, db=DATABASE)
    child = in_child(lambda: time.sleep(60))
    try:
        assert open_sessions() == 1
        if driver == "asyncpg":
            connection.terminate()
            loop.run_until_complete(asyncio.sleep(0.1))
        else:
            connection.close()
        deadline = time.monotonic() + 10
        while open_sessions():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    """,
        environment={
            "INSTANCE": instance,
            "DRIVER": driver,
            "CONTROL": control["url"],
            "BEARER": f"Bearer {control['bearer']}",
        },
    )


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="needs /proc")
def test_a_child_holds_no_descriptor_of_sessions_and_listeners(run):
    ended = run(
        PRELUDE
        + """
    def ours():
        inodes = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink("/proc/self/fd/" + name)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        found = 0
        for line in open("/proc/net/tcp").read().splitlines()[1:]:
            fields = line.split()
            found += fields[2].endswith(":0CEB") and fields[9] in inodes  # port 3307
        for line in open("/proc/net/unix").read().splitlines()[1:]:
            fields = line.split()
            found += "/iamsql-" in line and fields[6] in inodes
        return found

    connector = iamsql.Connector()
    held = [connector.connect(INSTANCE, d, db=DATABASE) for d in BLOCKING]
    print(ours(), flush=True)
    reap(in_child(lambda: print(ours(), flush=True)))
    """
    )
    # Three to the server; one listener and what it accepted from psycopg and psycopg2.
    assert ended.stdout.split() == ["6", "0"]


def test_asyncio_connections_stay_whole_in_the_parent(run):
    run(
        PRELUDE
        + """
    async def main():
        connector = iamsql.Connector()
        connection = await connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
        other = await connector.connect_async(INSTANCE, "psycopg", db=DATABASE)
        await connection.fetchval("SELECT 1")

        def child():
            connection.terminate()
            log_in(connector, "pg8000")

        reap(in_child(child))
        assert await connection.fetchval("SELECT 2") == 2
        await other.execute("SELECT 3")
        await connection.close()
        await other.close()

    asyncio.run(main())
    """
    )


def test_multiprocessing_forks_work(run):
    run(
        PRELUDE
        + """
    import multiprocessing
    connector = iamsql.Connector()
    log_in(connector, "psycopg")

    def work(driver):
        return log_in(connector, driver)

    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert len(set(pool.map(work, BLOCKING * 3))) == 1
    """
    )


def test_a_child_that_exits_normally_removes_nothing_of_its_parents(run):
    run(
        PRELUDE
        + """
    connector = iamsql.Connector()
    connection = connector.connect(INSTANCE, "psycopg", db=DATABASE)
    directory = connection.info.host
    pid = os.fork()
    if pid == 0:
        sys.exit(0)  # with exit handlers and all
    reap(pid)
    assert os.path.isdir(directory), directory
    ask(connection)
    connection.close()
    log_in(connector, "psycopg")
    """
    )
