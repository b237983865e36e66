"""What goes wrong, and how Python hears of it: class, advice, and in time."""

import asyncio
import sys
import time

import pytest

import iamsql
from drivers import ALL, BLOCKING, answer
from emulator import DATABASE, HUMAN, IAM_USER, INSTANCE, PROJECT, SERVICE_ACCOUNT


def kind(error: type, connector, driver, instance=INSTANCE, **kwargs) -> iamsql.Error:
    started = time.monotonic()
    with pytest.raises(error) as caught:
        answer(connector, driver, instance, **{"db": DATABASE, **kwargs})
    assert time.monotonic() - started < 12
    assert type(caught.value) is error
    return caught.value


def test_an_unknown_driver_is_named_with_the_known_ones(connector):
    error = kind(iamsql.ConfigError, connector, "oracledb")
    for name in ("oracledb", "asyncpg", "pg8000", "psycopg", "psycopg2"):
        assert name in str(error)


def test_a_driver_that_is_not_installed_is_named_with_the_line_that_installs_it(connector, monkeypatch):
    for module in [
        name for name in sys.modules if name == "pg8000" or name.startswith(("pg8000.", "iamsql.drivers.pg"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pg8000", None)
    error = kind(iamsql.MissingDriverError, connector, "pg8000")
    assert isinstance(error, ImportError)
    assert 'pip install "iamsql[pg8000]"' in str(error)


@pytest.mark.parametrize("driver", ALL)
@pytest.mark.parametrize("name", ["", "orders", "p:r", "p:r:i:x:y", " p:r:i", "p:r:i\n", "p:r:../i"])
def test_a_malformed_instance_name(connector, driver, name):
    assert "PROJECT:REGION:INSTANCE" in str(kind(iamsql.ConfigError, connector, driver, name))


@pytest.mark.parametrize("driver", ALL)
def test_a_password_login_without_a_user(connector, driver):
    assert "user" in str(kind(iamsql.ConfigError, connector, driver, password="secret-enough"))
    assert "user" in str(kind(iamsql.ConfigError, connector, driver, enable_iam_auth=False))


@pytest.mark.parametrize("driver", ALL)
def test_the_database_under_two_names(connector, driver):
    kind(iamsql.ConfigError, connector, driver, database="other")


def test_an_asynchronous_driver_on_the_blocking_call(connector):
    with pytest.raises(iamsql.ConfigError, match="connect_async"):
        connector.connect(INSTANCE, "asyncpg", db=DATABASE)
    with pytest.raises(iamsql.ConfigError, match="async_creator"):
        connector.creator(INSTANCE, "asyncpg", db=DATABASE)


def test_a_creator_refuses_at_once_what_needs_no_connection(connector):
    with pytest.raises(iamsql.ConfigError):
        connector.creator(INSTANCE, "oracle")
    with pytest.raises(iamsql.ConfigError):
        connector.async_creator(INSTANCE, "asyncpg", enable_iam_auth=False)


def test_a_pools_dsn_is_refused(connector):
    create = connector.async_creator(INSTANCE, "asyncpg", db=DATABASE)
    with pytest.raises(iamsql.ConfigError, match="DSN"):
        asyncio.run(create("postgres://elsewhere"))


def test_a_coroutine_outside_asyncio(connector):
    coroutine = connector.connect_async(INSTANCE, "asyncpg", db=DATABASE)
    with pytest.raises(iamsql.ConfigError, match="to_thread"):
        coroutine.send(None)


@pytest.mark.parametrize(
    "options",
    [
        {"ip_type": "NEAREST"},
        {"ip_type": 3},
        {"refresh_strategy": "SOMETIMES"},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": 1e9},
        {"timeout": "soon"},
        {"enable_iam_auth": "yes"},
        {"dns_servers": ["dns.example.com"]},
        {"failover_period": -1},
        {"credentials": object()},
        {"token": "a-token", "credentials_json": "{}"},
        {"login_token": "a-token"},
        {"emulator_host": "203.0.113.1:80"},
        {"sqladmin_api_endpoint": "http://203.0.113.1"},
    ],
    ids=str,
)
def test_options_that_mean_nothing(options):
    with pytest.raises(iamsql.ConfigError):
        iamsql.Connector(**options)


@pytest.mark.parametrize(
    "options", [{"ip_type": "NEAREST"}, {"timeout": 0}, {"timeout": "soon"}, {"enable_iam_auth": 1}], ids=str
)
def test_options_of_one_connect_that_mean_nothing(connector, options):
    kind(iamsql.ConfigError, connector, "pg8000", **options)


def test_what_the_official_connector_takes_is_taken(emulator):
    class IPTypes:
        value = "PRIMARY"

    class DefaultResolver:
        pass

    with iamsql.Connector(
        IPTypes,
        True,
        30,
        None,
        None,
        None,
        None,
        "orders/1.0",
        None,
        "lazy",
        DefaultResolver,
        30,
        emulator_host=emulator.host,
    ) as connector:
        assert answer(connector, "pg8000", INSTANCE, user=IAM_USER, db=DATABASE) == IAM_USER
        assert connector.universe_domain == "googleapis.com"
    agents = {call["user_agent"] for call in emulator.calls() if call["endpoint"] == "connectSettings"}
    assert any("orders/1.0" in agent and "iamsql-python/" in agent for agent in agents)


@pytest.mark.parametrize("driver", ALL)
def test_an_iam_login_as_somebody_else(connector, driver):
    error = kind(iamsql.LoginError, connector, driver, user=HUMAN, enable_iam_auth=True)
    text = str(error)
    assert text.index("authentication failed") < text.index(SERVICE_ACCOUNT)
    assert HUMAN in text
    assert IAM_USER in error.advice
    assert error.instance == INSTANCE
    assert error.__cause__ is not None


@pytest.mark.parametrize("driver", ALL)
def test_a_password_login_without_a_password(connector, driver, password_user, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    error = kind(iamsql.LoginError, connector, driver, user=password_user[0])
    assert password_user[0] in str(error)
    assert "enable_iam_auth=True" in error.advice


@pytest.mark.parametrize("driver", ALL)
def test_a_wrong_password(connector, driver, password_user):
    error = kind(iamsql.LoginError, connector, driver, user=password_user[0], password="not-the-password")
    assert "password authentication failed" in str(error)
    assert "not-the-password" not in str(error)


@pytest.mark.parametrize("driver", ALL)
def test_a_user_that_does_not_exist_by_iam(connector, driver):
    error = kind(iamsql.LoginError, connector, driver, user="nobody-here", enable_iam_auth=True)
    assert "nobody-here" in str(error)
    assert IAM_USER in error.advice


@pytest.mark.parametrize("driver", ALL)
def test_other_refusals_of_the_database_are_the_drivers_own(connector, driver):
    with pytest.raises(Exception, match="does not exist") as caught:
        answer(connector, driver, INSTANCE, db="no-such-database")
    assert not isinstance(caught.value, iamsql.Error)


@pytest.mark.parametrize("driver", ALL)
def test_an_unknown_instance(connector, driver):
    error = kind(iamsql.NotFoundError, connector, driver, f"{PROJECT}:us-central1:nowhere")
    assert error.instance == f"{PROJECT}:us-central1:nowhere"


@pytest.mark.parametrize("driver", ALL)
def test_a_wrong_region(emulator, connector, driver):
    instance = emulator.instance("echo").replace("us-central1", "europe-west1")
    assert "us-central1" in str(kind(iamsql.ConfigError, connector, driver, instance))


@pytest.mark.parametrize("driver", ALL)
def test_an_absent_address_type(emulator, connector, driver):
    instance = emulator.instance("echo", addresses=["PRIMARY"])
    assert "PRIVATE" in str(kind(iamsql.NotFoundError, connector, driver, instance, ip_type="PRIVATE")).upper()


@pytest.mark.parametrize("driver", ALL)
def test_no_permission(emulator, driver):
    instance = emulator.instance("echo")
    emulator.fault("connectSettings", "status", instance=instance, status=403)
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        error = kind(iamsql.PermissionDeniedError, connector, driver, instance)
    assert error.http_status == 403
    assert "HTTP 403" in str(error)
    assert "roles/cloudsql.client" in error.advice


def test_too_many_requests_for_ever(emulator):
    instance = emulator.instance("echo")
    emulator.fault("connectSettings", "status", instance=instance, status=429, retry_after="60")
    with iamsql.Connector(emulator_host=emulator.host, timeout=5) as connector:
        error = kind(iamsql.UnavailableError, connector, "pg8000", instance)
    assert error.retryable
    assert error.http_status == 429
    assert 0 < error.retry_at - time.time() < 61


@pytest.mark.parametrize("driver", ALL)
def test_a_refused_port(emulator, driver):
    instance = emulator.instance("echo")
    emulator.fault("tcp", "refuse", instance=instance)
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        error = kind(iamsql.NetworkError, connector, driver, instance)
    assert isinstance(error, ConnectionError)
    assert error.retryable
    assert "3307" in str(error)


@pytest.mark.parametrize("driver", ALL)
def test_a_black_hole_ends_at_the_deadline(emulator, driver):
    instance = emulator.instance("echo")
    emulator.fault("tcp", "black_hole", instance=instance)
    with iamsql.Connector(emulator_host=emulator.host, timeout=2) as connector:
        error = kind(iamsql.TimeoutError_, connector, driver, instance)
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize("driver", ALL)
def test_a_login_that_stalls_ends_at_the_deadline(emulator, driver):
    instance = emulator.instance("echo")
    emulator.fault("tls", "stall", instance=instance)
    with iamsql.Connector(emulator_host=emulator.host, timeout=2) as connector:
        kind(iamsql.TimeoutError_, connector, driver, instance)


@pytest.mark.parametrize("driver", ALL)
def test_the_wrong_server(emulator, driver):
    instance = emulator.instance("postgres", certificate="wrong_name")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        error = kind(iamsql.TlsError, connector, driver, instance)
    assert not error.retryable
    assert not any(session["certificate_seen"] for session in emulator.sessions(instance))


@pytest.mark.parametrize("driver", ALL)
def test_a_certificate_that_is_always_refused(emulator, driver):
    instance = emulator.instance("postgres")
    emulator.fault("tls", "refuse_certificate", instance=instance)
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        error = kind(iamsql.TlsError, connector, driver, instance)
    assert "refused the client certificate" in str(error)
    assert error.instance == instance
    assert error.advice


def test_no_credentials_at_all(run, tmp_path):
    ended = run(
        """
    import iamsql
    try:
        iamsql.Connector(timeout=5).user("p:r:i")
    except iamsql.CredentialsError as error:
        print(error.code, error.advice)
    """,
        environment={
            "IAMSQL_EMULATOR_HOST": "",
            "HOME": str(tmp_path),
            "CLOUDSDK_CONFIG": str(tmp_path),
            "PATH": "",
        },
        timeout=60,
    )
    assert "IAMSQL_CREDENTIALS" in ended.stdout
    assert "gcloud auth application-default login" in ended.stdout


def test_an_unreadable_key_file(emulator, tmp_path):
    for content in (None, "", "{", '{"type": "nothing_known"}', '{"type": "service_account"}'):
        path = tmp_path / "key.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises((iamsql.CredentialsError, iamsql.ConfigError)):
            iamsql.Connector(credentials=path, emulator_host=emulator.host).user(INSTANCE)


@pytest.mark.parametrize("driver", BLOCKING)
def test_a_connection_that_breaks_later_is_the_drivers_error(emulator, driver):
    instance = emulator.instance("postgres")
    with iamsql.Connector(emulator_host=emulator.host) as connector:
        connection = connector.connect(instance, driver, db=DATABASE)
        emulator.control("POST", f"/instances/{instance}/disconnect")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver's own
            connection.cursor().execute("SELECT 1")
        assert not isinstance(caught.value, iamsql.Error)
