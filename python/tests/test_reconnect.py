"""Drivers that would connect by themselves: no password leaves by another way than the engine's."""

import socket

import pytest

import iamsql
from emulator import DATABASE, PROJECT

MYSQL = f"{PROJECT}:us-central1:demo-mysql"


@pytest.fixture
def by_password(emulator, connector):
    """Connects with a driver, as a user that has a password."""

    def connect(instance, driver, **more):
        if instance not in {known["name"] for known in emulator.control("GET", "/instances")}:
            pytest.skip(f"the emulator has no {instance} here: is its server installed?")
        user = emulator.ready["users"][0]
        arguments = {"user": user["name"], "password": user["password"], "db": DATABASE, **more}
        return connector.connect(instance, driver, **arguments)

    return connect


@pytest.fixture
def dialled(monkeypatch):
    """The databases that Python's own sockets were asked to connect to; none is reached."""
    addresses = []
    create_connection = socket.create_connection

    def refuse(address, *args, **kwargs):
        if address[1] not in (1433, 3306):
            return create_connection(address, *args, **kwargs)
        addresses.append(address)
        raise ConnectionRefusedError(f"{address}: not in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return addresses


@pytest.mark.filterwarnings("ignore:The 'reconnect' argument:DeprecationWarning")
@pytest.mark.parametrize(
    "reconnect", [lambda c: c.ping(reconnect=True), lambda c: c.connect()], ids=["ping", "connect"]
)
def test_pymysql_never_reconnects_by_itself(by_password, dialled, reconnect):
    import pymysql

    connection = by_password(MYSQL, "pymysql")
    assert isinstance(connection, pymysql.connections.Connection)
    connection.ping(reconnect=True)
    connection.close()
    with pytest.raises(iamsql.ConfigError, match="connect again through iamsql") as caught:
        reconnect(connection)
    assert isinstance(caught.value, pymysql.err.InterfaceError)
    assert dialled == []
    assert connection.host == "iamsql.invalid"


@pytest.mark.filterwarnings("ignore:The 'reconnect' argument:DeprecationWarning")
def test_pymysql_gives_its_password_to_no_socket_but_the_engines(by_password):
    connection = by_password(MYSQL, "pymysql")
    connection.close()
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(iamsql.ConfigError):
        connection.connect(ours)


def test_pymysql_cannot_be_made_to_connect_later(by_password):
    with pytest.raises(iamsql.ConfigError, match="defer_connect"):
        by_password(MYSQL, "pymysql", defer_connect=True)
    by_password(MYSQL, "pymysql", defer_connect=False).close()


def test_a_pool_replaces_a_connection_that_has_ended(by_password):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    made = []

    def create():
        made.append(by_password(MYSQL, "pymysql"))
        return made[-1]

    engine = sqlalchemy.create_engine("mysql+pymysql://", creator=create, pool_pre_ping=True, pool_size=1)
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    assert len(made) == 1
    made[0]._force_close()
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    assert len(made) == 2
    engine.dispose()


class Rerouted:
    """A login that the server answers with the address of another."""

    def __init__(self, **_):
        pass

    def login(self):
        return {"server": "elsewhere.example", "port": 1433}


class Broken(Rerouted):
    """A login that fails."""

    def login(self):
        raise ValueError("not understood")


class Dialled(socket.socket):
    """What the engine's socket has more than another."""

    failure = None
    setsockopt = set_deadline = lambda *_: None


class Login:
    """A login to SQL Server."""

    instance, database, password, extra = "p:r:i", None, "a-password", {}

    def __init__(self):
        ours, self.theirs = socket.socketpair()
        self.socket = Dialled(fileno=ours.detach())

    def dial(self):
        return self.socket, "a-user"

    def remaining(self):
        return 5


def connect_while_handling(driver, login):
    try:
        raise LookupError
    except LookupError:
        return driver.connect(login)


@pytest.mark.parametrize("connect", [lambda driver, login: driver.connect(login), connect_while_handling])
def test_pytds_follows_no_server_elsewhere(monkeypatch, dialled, connect):
    pytds = pytest.importorskip("pytds")
    from iamsql.drivers import pytds as driver

    monkeypatch.setattr(pytds, "_TdsSocket", Rerouted)
    login = Login()
    with login.theirs, pytest.raises(iamsql.LoginError, match="another server"):
        connect(driver, login)
    assert dialled == []
    assert login.socket.fileno() == -1


def test_what_fails_in_pytds_is_said_as_it_is(monkeypatch):
    pytds = pytest.importorskip("pytds")
    from iamsql.drivers import pytds as driver

    monkeypatch.setattr(pytds, "_TdsSocket", Broken)
    login = Login()
    with login.theirs, pytest.raises(ValueError, match="not understood"):
        driver.connect(login)
    assert login.socket.fileno() == -1
