"""Connections through Cloud SQL's SqlData service, with the drivers that logged in asked who they are."""

import socket
import threading

import pytest

import iamsql
import iamsql.compat.cloudsql as compat
from drivers import answer
from emulator import DATABASE, IAM_USER

DRIVERS = ("pg8000", "psycopg", "asyncpg-async", "psycopg-async")


@pytest.fixture(scope="module")
def developer(emulator) -> str:
    """A PostgreSQL instance of the edition that has the service."""
    return emulator.instance("postgres", edition="developer")


@pytest.fixture
def tunnels(emulator):
    """How many tunnels to an instance were asked for, since the test began."""
    before = len(emulator.calls())
    return lambda instance: [
        call for call in emulator.calls()[before:] if call["endpoint"] == "sqlData" and call["instance"] == instance
    ]


@pytest.fixture
def listening():
    """A port that accepts one connection, and what was said there first."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def hear():
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                heard.append(connection.recv(24))

        listener = threading.Thread(target=hear)
        listener.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        listener.join(20)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_logs_in_as_the_principal(connector, developer, tunnels, driver):
    assert answer(connector, driver, developer, db=DATABASE, ip_type=iamsql.IpType.SQL_DATA) == IAM_USER
    assert len(tunnels(developer)) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_logs_in_with_a_password(emulator, developer, tunnels, password_user, driver):
    user, password = password_user
    with iamsql.Connector(emulator_host=emulator.host, ip_type="SQL_DATA") as connector:
        assert answer(connector, driver, developer, db=DATABASE, user=user, password=password) == user
    assert len(tunnels(developer)) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_edition_without_the_service_is_reached_by_its_address(emulator, connector, tunnels, driver):
    enterprise = emulator.instance("postgres")
    for _ in range(2):
        assert answer(connector, driver, enterprise, db=DATABASE, ip_type="SQL_DATA") == IAM_USER
    assert len(tunnels(enterprise)) == 1


def test_the_official_way_of_saying_it(emulator, developer, tunnels, password_user, monkeypatch):
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    user, password = password_user
    with compat.Connector(ip_type=compat.IPTypes.SQL_DATA) as connector:
        for driver in ("pg8000", "psycopg"):
            assert answer(connector, driver, developer, db=DATABASE, user=user, password=password) == user
            assert answer(connector, driver, developer, db=DATABASE, user=IAM_USER, enable_iam_auth=True) == IAM_USER
    assert len(tunnels(developer)) == 4


def test_the_endpoint_is_where_the_tunnel_is_opened(emulator, developer, listening):
    place, heard = listening
    with (
        iamsql.Connector(emulator_host=emulator.host, sql_data_endpoint=f"http://{place}") as connector,
        pytest.raises(iamsql.Error),
    ):
        answer(connector, "pg8000", developer, db=DATABASE, ip_type="SQL_DATA", timeout=10)
    assert heard == [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


def test_the_official_endpoint_has_no_scheme_and_is_encrypted(emulator, developer, listening, monkeypatch):
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    place, heard = listening
    with (
        compat.Connector(ip_type="SQL_DATA", sql_data_endpoint=place, timeout=10) as connector,
        pytest.raises(Exception),  # noqa: B017, PT011 - which one is not what is asked
    ):
        connector.connect(developer, "pg8000", user="anybody", password="secret", db=DATABASE)
    [hello] = heard
    assert hello[:2] == b"\x16\x03"


def test_an_endpoint_without_encryption_on_another_machine_is_refused(emulator):
    with pytest.raises(iamsql.ConfigError):
        iamsql.Connector(emulator_host=emulator.host, sql_data_endpoint="http://collector.example")
