"""The frameworks of the matrix: each connects in the way its own documentation shows, and says who it is."""

from __future__ import annotations

import asyncio
import json
import socket
import textwrap

BLOCKING = {"postgres": "psycopg", "alloydb": "psycopg", "mysql": "pymysql", "sqlserver": "pytds"}
ON_A_SOCKET = {**BLOCKING, "postgres": "pg8000", "alloydb": "pg8000"}
ASYNCHRONOUS = {"postgres": "asyncpg", "alloydb": "asyncpg", "mysql": "aiomysql"}
SCHEMES = {"postgres": "postgresql", "alloydb": "postgresql", "mysql": "mysql"}


def _engine(place):
    import sqlalchemy

    driver = BLOCKING[place.database]
    return sqlalchemy.create_engine(
        f"{SCHEMES[place.database]}+{driver}://",
        creator=place.connector.creator(place.instance, driver, **place.arguments),
        pool_pre_ping=True,
    )


def sqlalchemy(place) -> str:
    from sqlalchemy import text

    engine = _engine(place)
    with engine.connect() as connection:
        user = connection.execute(text(place.question)).scalar()
    engine.dispose()
    return user


def sqlalchemy_async(place) -> str:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    async def main():
        driver = ASYNCHRONOUS[place.database]
        engine = create_async_engine(
            f"{SCHEMES[place.database]}+{driver}://",
            async_creator=place.connector.async_creator(place.instance, driver, **place.arguments),
        )
        async with engine.connect() as connection:
            user = await connection.scalar(text(place.question))
        await engine.dispose()
        return user

    return asyncio.run(main())


def sqlmodel(place) -> str:
    from sqlalchemy import text
    from sqlmodel import Field, Session, SQLModel, select

    class Hero(SQLModel, table=True):
        __tablename__ = "hero"
        __table_args__ = {"prefixes": ["TEMPORARY"], "extend_existing": True}
        id: int | None = Field(default=None, primary_key=True)
        name: str

    engine = _engine(place)
    with Session(engine) as session:
        Hero.__table__.create(session.connection())
        session.add(Hero(name="somebody"))
        session.flush()
        assert session.exec(select(Hero)).one().name == "somebody"
        user = session.connection().execute(text(place.question)).scalar()
        session.rollback()
    SQLModel.metadata.remove(Hero.__table__)
    engine.dispose()
    return user


def alembic(place) -> str:
    """`alembic upgrade head` with an env.py that takes a connection, as its cookbook has it."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    scripts = place.tmp_path / "migrations"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(
        textwrap.dedent(
            """
            from alembic import context

            context.configure(connection=context.config.attributes["connection"], version_table="migrated")
            with context.begin_transaction():
                context.run_migrations()
            """
        )
    )
    (scripts / "versions" / "first.py").write_text(
        textwrap.dedent(
            """
            import sqlalchemy
            from alembic import op

            revision, down_revision = "first", None

            def upgrade():
                op.create_table("matrix_orders", sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))

            def downgrade():
                op.drop_table("matrix_orders")
            """
        )
    )
    config = Config()
    config.set_main_option("script_location", str(scripts))
    engine = _engine(place)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT version_num FROM migrated")).scalar() == "first"
        assert connection.execute(text("SELECT count(*) FROM matrix_orders")).scalar() == 0
        user = connection.execute(text(place.question)).scalar()
        command.downgrade(config, "base")
        connection.execute(text("DROP TABLE migrated"))
    engine.dispose()
    return user


def django(place) -> str:
    engine = "mysql" if place.database == "mysql" else "postgresql"
    return _run(
        place,
        f"""
        import django
        from django.conf import settings
        settings.configure(DATABASES={{"default": {{
            "ENGINE": "iamsql.django.{engine}", "HOST": instance, "NAME": arguments["db"],
            "USER": arguments.get("user", ""), "PASSWORD": arguments.get("password", ""),
        }}}})
        django.setup()
        from django.db import connection
        with connection.cursor() as cursor:
            cursor.execute(question)
            print(cursor.fetchone()[0])
        """,
    )


def gevent(place) -> str:
    return _run(
        place, "from gevent import monkey\nmonkey.patch_all()\nimport gevent\nspawn = gevent.spawn\n", _GREENLETS
    )


def eventlet(place) -> str:
    return _run(
        place,
        "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n"
        "spawn = eventlet.spawn\n",
        _GREENLETS,
    )


_GREENLETS = """
import iamsql
connector = iamsql.Connector()
def one():
    connection = connector.connect(instance, driver, **arguments)
    cursor = connection.cursor()
    cursor.execute(question)
    user = cursor.fetchone()[0]
    connection.close()
    return user
greenlets = [spawn(one) for _ in range(3)]
users = {greenlet.get() if hasattr(greenlet, "get") else greenlet.wait() for greenlet in greenlets}
assert len(users) == 1, users
print(users.pop())
"""


def uvloop(place) -> str:
    import uvloop

    from drivers import ask_async, close_async

    async def main():
        connection = await place.connector.connect_async(
            place.instance, ASYNCHRONOUS[place.database], **place.arguments
        )
        user = await ask_async(connection, place.question)
        await close_async(connection)
        return user

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def gunicorn(place) -> str:
    """The application connects while it is loaded, before the workers are forked; each worker answers who it is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place.tmp_path / "application.py").write_text(
        _given(place)
        + textwrap.dedent(
            """
            import iamsql

            connector = iamsql.Connector()

            def who():
                connection = connector.connect(instance, driver, **arguments)
                cursor = connection.cursor()
                cursor.execute(question)
                user = cursor.fetchone()[0]
                connection.close()
                return user

            loaded = who()

            def application(environment, start):
                start("200 OK", [])
                user = who()
                assert user == loaded
                return [user.encode()]
            """
        )
    )
    return _run(
        place,
        f"""
        import subprocess, sys, time, urllib.request
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}",
             "--no-control-socket", "application:application"],
            stderr=subprocess.PIPE, text=True,
        )
        try:
            for _ in range(100):
                try:
                    users = {{urllib.request.urlopen("http://127.0.0.1:{port}", timeout=20).read() for _ in range(4)}}
                    break
                except OSError as error:
                    assert server.poll() is None, server.stderr.read()
                    time.sleep(0.1)
            assert len(users) == 1
            print(users.pop().decode())
        finally:
            server.terminate()
            server.wait(20)
        """,
    )


def _given(place) -> str:
    values = {
        "instance": place.instance,
        "question": place.question,
        "driver": ON_A_SOCKET[place.database],
        "arguments": place.arguments,
    }
    return f"import json\nglobals().update(json.loads({json.dumps(json.dumps(values))}))\n"


def _run(place, *code: str) -> str:
    return place.run(_given(place) + "\n".join(map(textwrap.dedent, code))).stdout.strip().splitlines()[-1]
