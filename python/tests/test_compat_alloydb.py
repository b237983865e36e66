"""`iamsql.compat.alloydb` against the official package: the same names, signatures and exceptions."""

import asyncio
import pkgutil
import subprocess
import sys

import pytest

import iamsql
import iamsql.compat.alloydb as ours
import official
from emulator import DATABASE, IAM_USER
from iamsql.compat.alloydb import exceptions

theirs = pytest.importorskip("google.cloud.alloydbconnector")

URI = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary"
MODULES = ("connector", "async_connector", "enums", "exceptions", "version")


def test_the_package_exports_the_same_names():
    assert sorted(ours.__all__) == sorted(theirs.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_same_names(name):
    assert not official.missing(theirs, ours, name, set())


@pytest.mark.parametrize("name", MODULES)
def test_functions_and_methods_have_the_same_signatures(name):
    compared = official.compare_signatures(theirs, ours, name, set())
    assert compared or name in ("enums", "exceptions", "version")


@pytest.mark.parametrize("name", ["IPTypes", "RefreshStrategy"])
def test_enums_have_the_same_members(name):
    their, mine = getattr(theirs, name), getattr(ours, name)
    assert {k: v.value for k, v in mine.__members__.items()} == {k: v.value for k, v in their.__members__.items()}


def test_every_official_module_is_offered_or_internal():
    internal = {
        "asyncpg", "client", "connection_info", "instance", "lazy", "pg8000", "psycopg", "rate_limiter",
        "refresh_utils", "static", "types", "utils",
    }  # fmt: skip
    assert {found.name for found in pkgutil.iter_modules(theirs.__path__)} == internal | set(MODULES)


def raised(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is compared
        call()
    return type(caught.value).__name__, str(caught.value)


@pytest.fixture
def credentials():
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


@pytest.mark.parametrize("kind", ["Connector", "AsyncConnector"])
@pytest.mark.parametrize(
    "arguments", [{"ip_type": "bad"}, {"refresh_strategy": "bad"}, {"universe_domain": "example.goog"}], ids=str
)
def test_constructors_refuse_in_the_same_words(credentials, kind, arguments):
    def make(package):
        getattr(package, kind)(**{"credentials": credentials, **arguments})

    assert raised(lambda: make(ours)) == raised(lambda: make(theirs))


def test_an_unknown_driver_is_refused_in_the_same_words(credentials):
    def connect(package):
        connector = package.Connector(credentials=credentials, refresh_strategy="LAZY")
        try:
            connector.connect(URI, "asyncpg", user="u", db="d")
        finally:
            connector.close()

    def connect_async(package):
        async def main():
            connector = package.AsyncConnector(credentials=credentials, refresh_strategy="LAZY")
            try:
                await connector.connect(URI, "pg8000", user="u", db="d")
            finally:
                await connector.close()

        asyncio.run(main())

    assert raised(lambda: connect(ours)) == raised(lambda: connect(theirs))
    assert raised(lambda: connect_async(ours)) == raised(lambda: connect_async(theirs))


@pytest.mark.parametrize(("given", "lacks"), [({"db": "d"}, "user"), ({"user": "u"}, "db")])
def test_a_missing_argument_is_a_key_error(credentials, given, lacks):
    with ours.Connector(credentials=credentials) as connector, pytest.raises(KeyError) as caught:
        connector.connect(URI, "pg8000", **given)
    assert caught.value.args == (lacks,)


def test_a_closed_connector_refuses_in_the_same_words(credentials):
    connector = ours.Connector(credentials=credentials)
    connector.close()
    with pytest.raises(exceptions.ClosedConnectorError) as caught:
        connector.connect(URI, "pg8000", user="u", db="d")
    assert str(caught.value) == "Connection attempt failed because the connector has already been closed."


def test_it_imports_without_any_of_the_official_dependencies():
    code = """
import sys
for name in ("google", "google.auth", "aiofiles", "grpc", "cryptography"):
    sys.modules[name] = None
from iamsql.compat.alloydb import AsyncConnector, Connector
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.fixture
def inside(emulator, monkeypatch):
    """The emulator's world, as the environment of this process."""
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
def test_it_connects(inside, driver):
    with ours.Connector() as connector:
        connection = connector.connect(URI, driver, user=IAM_USER, db=DATABASE, enable_iam_auth=True, host="x", port=1)
        cursor = connection.cursor()
        cursor.execute("SELECT current_user")
        assert cursor.fetchone()[0] == IAM_USER
        connection.close()


def test_a_built_in_user_connects_with_its_password(inside, password_user):
    name, password = password_user

    async def main():
        async with ours.AsyncConnector() as connector:
            with pytest.raises(KeyError, match="password"):
                await connector.connect(URI, "asyncpg", user=name, db=DATABASE)
            connection = await connector.connect(URI, "asyncpg", user=name, password=password, db=DATABASE)
            assert await connection.fetchval("SELECT current_user") == name
            await connection.close()

    asyncio.run(main())


def test_an_api_error_is_also_api_cores(inside):
    from google.api_core.exceptions import GoogleAPICallError

    missing = URI.replace("my-primary", "nothing-here")
    with ours.Connector() as connector, pytest.raises(GoogleAPICallError) as caught:
        connector.connect(missing, "pg8000", user="u", db="d")
    assert caught.value.code in (403, 404)
    assert isinstance(caught.value, iamsql.Error)


def test_a_missing_address_type_is_the_official_error(inside):
    with ours.Connector() as connector, pytest.raises(exceptions.IPTypeNotFoundError) as caught:
        connector.connect(URI, "pg8000", user="u", db="d", ip_type="PSC")
    assert str(caught.value) == "AlloyDB instance does not have an IP addresses matching type: 'PSC'"
