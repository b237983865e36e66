"""`iamsql.compat.cloudsql` against the official package: the same names, signatures and exceptions."""

import asyncio
import pkgutil
import subprocess
import sys

import pytest

import iamsql
import iamsql.compat.cloudsql as ours
import official
from emulator import DATABASE, IAM_USER, INSTANCE
from iamsql.compat.cloudsql import exceptions

theirs = pytest.importorskip("google.cloud.sql.connector")

MODULES = ("connector", "enums", "exceptions", "resolver", "connection_name", "utils", "version")
INTERNAL = {
    "utils": {"AsyncTemporaryDirectory", "generate_keys", "write_to_file"},
    "connector": {"SqlDataConnState"},
}
"""What the official modules have only to build themselves from."""


def test_the_package_exports_the_same_names():
    assert sorted(ours.__all__) == sorted(theirs.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_same_names(name):
    assert not official.missing(theirs, ours, name, INTERNAL.get(name, set()))


@pytest.mark.parametrize("name", MODULES)
def test_functions_and_methods_have_the_same_signatures(name):
    compared = official.compare_signatures(theirs, ours, name, INTERNAL.get(name, set()))
    assert compared or name in ("enums", "exceptions", "version")


@pytest.mark.parametrize("name", ["IPTypes", "RefreshStrategy", "DriverMapping"])
def test_enums_have_the_same_members(name):
    their, mine = getattr(official.module(theirs, "enums"), name), getattr(official.module(ours, "enums"), name)
    assert {k: v.value for k, v in mine.__members__.items()} == {k: v.value for k, v in their.__members__.items()}


def test_exceptions_have_the_same_bases_among_themselves():
    package = official.module(theirs, "exceptions")
    for name in official.own_names(package):
        bases = [base.__name__ for base in getattr(package, name).__mro__ if base.__module__ == package.__name__]
        mine = [base.__name__ for base in getattr(exceptions, name).__mro__ if base.__module__ == exceptions.__name__]
        assert mine == bases
        assert issubclass(getattr(exceptions, name), Exception)
        assert str(getattr(exceptions, name)("said")) == str(getattr(package, name)("said")) == "said"


def raised(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is compared
        call()
    return type(caught.value).__name__, str(caught.value)


def both(call):
    return raised(lambda: call(ours)), raised(lambda: call(theirs))


@pytest.fixture
def credentials():
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


@pytest.mark.parametrize(
    "arguments",
    [
        {"ip_type": "bad"},
        {"refresh_strategy": "bad"},
        {"credentials": "a-path.json"},
        {"universe_domain": "example.goog"},
    ],
    ids=str,
)
def test_constructors_refuse_in_the_same_words(credentials, arguments):
    mine, their = both(lambda package: package.Connector(**{"credentials": credentials, **arguments}))
    assert mine == their


@pytest.mark.parametrize(
    ("instance", "driver", "arguments"),
    [
        (INSTANCE, "oracle", {}),
        ("not-a-name", "pg8000", {"user": "u", "db": "d"}),
        ("db.example.com", "pg8000", {"user": "u", "db": "d"}),
        (INSTANCE, "pg8000", {"user": "u", "db": "d", "ip_type": "bad"}),
    ],
)
def test_connects_are_refused_in_the_same_words(credentials, instance, driver, arguments):
    def connect(package):
        # Lazily, so that the official one makes no calls in the background.
        with package.Connector(credentials=credentials, refresh_strategy="LAZY") as connector:
            connector.connect(instance, driver, **arguments)

    mine, their = both(connect)
    assert mine == their


@pytest.mark.parametrize(
    ("driver", "arguments", "missing"),
    [
        ("pg8000", {"db": "d"}, "user"),
        ("pg8000", {"user": "u"}, "database"),
        ("psycopg", {"user": "u", "database": "d"}, "db"),
        ("asyncpg", {"db": "d"}, "user"),
        ("pytds", {"user": "u", "db": "d"}, "password"),
        ("pymysql", {"db": "d", "enable_iam_auth": True}, "user"),
    ],
)
def test_a_missing_argument_is_a_key_error(emulator_connector, driver, arguments, missing):
    with pytest.raises(KeyError) as caught:
        emulator_connector.connect(INSTANCE, driver, **arguments)
    assert caught.value.args == (missing,)


@pytest.fixture
def emulator_connector(emulator, monkeypatch):
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    with ours.Connector() as connector:
        yield connector


@pytest.mark.parametrize("driver", ["pg8000", "psycopg", "asyncpg"])
@pytest.mark.parametrize("database", ["db", "database"])
def test_it_connects(emulator_connector, driver, database):
    if driver == "psycopg" and database == "database":
        pytest.skip("the official connector knows db alone there")
    arguments = {"user": IAM_USER, database: DATABASE, "enable_iam_auth": True, "host": "x", "port": 1, "ssl": True}
    connection = emulator_connector.connect(INSTANCE, driver, **arguments)
    if driver == "asyncpg":
        loop = emulator_connector._loop
        fetched = asyncio.run_coroutine_threadsafe(connection.fetchval("SELECT current_user"), loop)
        assert fetched.result(10) == IAM_USER
        asyncio.run_coroutine_threadsafe(connection.close(), loop).result(10)
        return
    cursor = connection.cursor()
    cursor.execute("SELECT current_user")
    assert cursor.fetchone()[0] == IAM_USER
    connection.close()


def test_psycopg_is_blocking_from_a_coroutine_too(emulator_connector):
    import psycopg

    async def main():
        return await emulator_connector.connect_async(
            INSTANCE, "psycopg", user=IAM_USER, db=DATABASE, enable_iam_auth=True
        )

    connection = asyncio.run(main())
    assert isinstance(connection, psycopg.Connection)
    connection.close()


def test_an_async_connector_works_on_any_loop(emulator_connector):
    async def main():
        connector = await ours.create_async_connector(enable_iam_auth=True)
        async with connector:
            connection = await connector.connect_async(INSTANCE, "asyncpg", user=IAM_USER, db=DATABASE)
            assert await connection.fetchval("SELECT current_user") == IAM_USER
            await connection.close()
        return connector

    asyncio.run(main())

    async def elsewhere():
        connection = await emulator_connector.connect_async(
            INSTANCE, "asyncpg", user=IAM_USER, db=DATABASE, enable_iam_auth=True
        )
        await connection.close()

    for _ in range(2):
        asyncio.run(elsewhere())


def test_a_closed_connector_refuses_in_the_same_words(emulator_connector):
    emulator_connector.close()
    with pytest.raises(exceptions.ClosedConnectorError) as caught:
        emulator_connector.connect(INSTANCE, "pg8000", user="u", db="d")
    assert str(caught.value) == "Connection attempt failed because the connector has already been closed."
    assert isinstance(caught.value, iamsql.Error)


def test_an_api_error_is_also_aiohttps(emulator_connector):
    import aiohttp

    with pytest.raises(aiohttp.ClientResponseError) as caught:
        emulator_connector.connect("your-project-id:us-central1:nothing-here", "pg8000", user="u", db="d")
    assert caught.value.status in (403, 404)
    assert isinstance(caught.value, iamsql.Error)
    assert caught.value.message


def test_a_refused_login_is_the_drivers_own_error(emulator_connector):
    # Which is no error of pg8000's own where the server asks for SCRAM and there is no password.
    with pytest.raises(AttributeError) as caught:
        emulator_connector.connect(INSTANCE, "pg8000", user="somebody", db=DATABASE, enable_iam_auth=True)
    if sys.version_info >= (3, 11):
        assert IAM_USER in "".join(caught.value.__notes__)


def test_a_missing_address_type_is_the_official_error(emulator, emulator_connector):
    with pytest.raises(exceptions.CloudSQLIPTypeError) as caught:
        emulator_connector.connect(emulator.instance("echo"), "pg8000", user="u", db="d", ip_type="PSC")
    assert str(caught.value) == "Cloud SQL instance does not have any IP addresses matching preference: PSC"


def test_a_resolver_of_the_callers_own_is_asked(emulator, emulator_connector):
    from iamsql.compat.cloudsql.connection_name import ConnectionName

    class Fixed(ours.DnsResolver):
        async def resolve(self, dns):
            assert dns == "orders.example.com"
            return ConnectionName("your-project-id", "us-central1", "demo-postgres", dns)

    with ours.Connector(resolver=Fixed, enable_iam_auth=True) as connector:
        connection = connector.connect("orders.example.com", "pg8000", user=IAM_USER, db=DATABASE)
        connection.close()


def test_a_resolver_of_the_callers_own_may_change_one_step(emulator, emulator_connector):
    class Zone(ours.DnsResolver):
        async def resolve_cname(self, dns):
            if dns == "alias.example.com":
                return "orders.example.com"
            raise exceptions.DnsResolutionError(dns)

        async def resolve_txt(self, dns):
            return [INSTANCE] if dns == "orders.example.com" else ["nonsense"]

    with ours.Connector(resolver=Zone, enable_iam_auth=True) as connector:
        connector.connect("alias.example.com", "pg8000", user=IAM_USER, db=DATABASE).close()
        with pytest.raises(exceptions.DnsResolutionError, match="Unable to parse TXT record"):
            connector.connect("other.example.com", "pg8000", user=IAM_USER, db=DATABASE)


def test_it_imports_without_any_of_the_official_dependencies():
    code = """
import sys
for name in ("google", "google.auth", "aiohttp", "dns", "cryptography", "grpc"):
    sys.modules[name] = None
from iamsql.compat.cloudsql import Connector, DnsResolver
Connector.__init__, DnsResolver(client=None)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=".", env={"PYTHONPATH": ":".join(sys.path)})


def test_every_official_module_is_offered_or_internal():
    internal = {
        "asyncpg", "client", "connection_info", "instance", "lazy", "monitored_cache", "pg8000", "psycopg", "pymysql",
        "pytds", "rate_limiter", "refresh_utils", "sqldata_client",
    }  # fmt: skip
    offered = {found.name for found in pkgutil.iter_modules(theirs.__path__)}
    assert offered == internal | set(MODULES)
