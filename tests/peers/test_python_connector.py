"""Google's Python connector logs in through the emulator, and is refused where the real service refuses it."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import google.auth.credentials
import google.oauth2.credentials
import google.oauth2.service_account
import pg8000.exceptions
import psycopg
import pytds
import pytest
from conftest import CAS, HUMAN, INSTANCE, NO_IAM, SERVICE_ACCOUNT, SQL_SERVER, Emulator
from google.cloud.sql.connector import Connector, RefreshStrategy, create_async_connector

USER = "cloudsql-client@your-project-id.iam"
ADMIN_SCOPE = "https://www.googleapis.com/auth/sqlservice.admin"
LOGIN_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


class Scripted(google.auth.credentials.Credentials):
    """Credentials of any principal whose login tokens are as good or as bad as a test wants."""

    def __init__(self, emulator: Emulator, principal: str, login: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._emulator, self._principal, self._login = emulator, principal, login or {}
        self._scopes = [ADMIN_SCOPE]

    def refresh(self, request: object) -> None:
        wanted: dict[str, Any] = {"principal": self._principal, "scopes": self._scopes}
        if LOGIN_SCOPE in self._scopes:
            wanted |= self._login
        self.token = self._emulator.control("/token", wanted)["access_token"]
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.expiry = now + datetime.timedelta(hours=1)


@pytest.fixture
def connector(emulator: Emulator) -> Iterator[Callable[..., Connector]]:
    """Makes connectors that are closed at the end."""
    made: list[Connector] = []

    def make(**arguments: Any) -> Connector:
        defaults = {"sqladmin_api_endpoint": emulator.url, "enable_iam_auth": True, "timeout": 10}
        made.append(Connector(**(defaults | arguments)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def current_user(connection: Any) -> str:
    cursor = connection.cursor()
    cursor.execute("SELECT current_user")
    (user,) = cursor.fetchone()
    connection.close()
    return user


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
@pytest.mark.parametrize("instance", [INSTANCE, CAS])
@pytest.mark.parametrize("ip_type", ["public", "private"])
def test_it_logs_in(connector: Callable[..., Connector], driver: str, instance: str, ip_type: str) -> None:
    connection = connector(ip_type=ip_type).connect(instance, driver, user=USER, db="mydb")
    assert current_user(connection) == USER


@pytest.mark.parametrize("strategy", list(RefreshStrategy))
def test_asyncpg_logs_in(emulator: Emulator, strategy: RefreshStrategy) -> None:
    async def run() -> str:
        made = await create_async_connector(
            sqladmin_api_endpoint=emulator.url, enable_iam_auth=True, refresh_strategy=strategy
        )
        async with made:
            connection = await made.connect_async(INSTANCE, "asyncpg", user=USER, db="mydb")
            user = await connection.fetchval("SELECT current_user")
            await connection.close()
            return user

    assert asyncio.run(run()) == USER


def test_a_full_address_is_shortened(connector: Callable[..., Connector]) -> None:
    connection = connector().connect(INSTANCE, "pg8000", user=SERVICE_ACCOUNT, db="mydb")
    assert current_user(connection) == USER


def test_a_service_account_key_logs_in(connector: Callable[..., Connector], emulator: Emulator, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.touch(0o600)
    key.write_text(json.dumps(emulator.control("/service-account-key", {"principal": SERVICE_ACCOUNT})))
    credentials = google.oauth2.service_account.Credentials.from_service_account_file(str(key))
    connection = connector(credentials=credentials).connect(INSTANCE, "pg8000", user=USER, db="mydb")
    assert current_user(connection) == USER


def test_a_humans_own_login_logs_in(connector: Callable[..., Connector], emulator: Emulator) -> None:
    info = emulator.control("/authorized-user", {"principal": HUMAN})
    credentials = google.oauth2.credentials.Credentials(
        None,
        refresh_token=info["refresh_token"],
        token_uri=info["token_uri"],
        client_id=info["client_id"],
        client_secret=info["client_secret"],
    )
    connection = connector(credentials=credentials).connect(INSTANCE, "pg8000", user=HUMAN, db="mydb")
    assert current_user(connection) == HUMAN


@pytest.mark.parametrize("iam", [True, False])
def test_a_built_in_user_logs_in_with_its_password(
    connector: Callable[..., Connector], emulator: Emulator, iam: bool
) -> None:
    made = connector(enable_iam_auth=iam)
    arguments = {"user": emulator.user, "password": emulator.password, "db": "mydb"}
    assert current_user(made.connect(INSTANCE, "pg8000", **arguments)) == emulator.user


def test_a_built_in_user_without_its_password_is_refused(
    connector: Callable[..., Connector], emulator: Emulator
) -> None:
    made = connector()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        made.connect(INSTANCE, "psycopg", user=emulator.user, db="mydb")
    # What the driver makes of being asked for a password that it does not have.
    with pytest.raises(AttributeError):
        made.connect(INSTANCE, "pg8000", user=emulator.user, db="mydb")
    with pytest.raises(pg8000.exceptions.DatabaseError, match="password authentication failed"):
        made.connect(INSTANCE, "pg8000", user=emulator.user, password="wrong", db="mydb")


def test_another_iam_user_is_refused_in_the_services_words(
    connector: Callable[..., Connector], emulator: Emulator
) -> None:
    made = connector()
    with pytest.raises(pg8000.exceptions.DatabaseError) as refused:
        made.connect(INSTANCE, "pg8000", user=HUMAN, db="mydb")
    (fields,) = refused.value.args
    assert fields["S"] == "FATAL"
    assert fields["C"] == "28000"
    assert fields["M"] == f'Cloud SQL IAM user authentication failed for user "{HUMAN}"'
    assert current_user(made.connect(INSTANCE, "pg8000", user=USER, db="mydb")) == USER


def test_asyncpg_is_refused_too(emulator: Emulator) -> None:
    async def run() -> None:
        made = await create_async_connector(sqladmin_api_endpoint=emulator.url, enable_iam_auth=True)
        async with made:
            await made.connect_async(INSTANCE, "asyncpg", user=HUMAN, db="mydb")

    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="IAM user authentication failed"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("instance", "login", "reason"),
    [
        (INSTANCE, {"lifetime_ms": 0}, "expired"),
        (INSTANCE, {"scopes": [ADMIN_SCOPE]}, "scope"),
        (NO_IAM, {}, "cloudsql.iam_authentication"),
    ],
    ids=["expired token", "wrong scope", "instance without the IAM flag"],
)
def test_a_login_that_lacks_something_is_refused(
    connector: Callable[..., Connector], emulator: Emulator, instance: str, login: dict[str, Any], reason: str
) -> None:
    made = connector(credentials=Scripted(emulator, SERVICE_ACCOUNT, login))
    with pytest.raises(pg8000.exceptions.DatabaseError, match="IAM service account authentication failed"):
        made.connect(instance, "pg8000", user=USER, db="mydb")
    # The client is not told why; whoever runs the instance is.
    assert reason in emulator.sessions(instance)[-1]["error"]


def test_a_principal_without_the_login_role_is_refused(connector: Callable[..., Connector], emulator: Emulator) -> None:
    email = "no-login@your-project-id.iam.gserviceaccount.com"
    emulator.control("/principals", {"email": email, "roles": ["roles/cloudsql.client"]})
    made = connector(credentials=Scripted(emulator, email))
    with pytest.raises(pg8000.exceptions.DatabaseError, match="authentication failed"):
        made.connect(INSTANCE, "pg8000", user=email, db="mydb")
    assert "roles/cloudsql.instanceUser" in emulator.sessions()[-1]["error"]


@pytest.mark.parametrize(
    ("roles", "instance", "status"),
    [
        ([], INSTANCE, 403),
        (["roles/cloudsql.client"], "your-project-id:us-central1:absent", 404),
    ],
    ids=["no role", "no instance"],
)
def test_the_admin_api_refuses(
    connector: Callable[..., Connector], emulator: Emulator, roles: list[str], instance: str, status: int
) -> None:
    email = f"refused-{status}@your-project-id.iam.gserviceaccount.com"
    emulator.control("/principals", {"email": email, "roles": roles})
    made = connector(credentials=Scripted(emulator, email), refresh_strategy="lazy")
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        made.connect(instance, "pg8000", user=email, db="mydb")
    assert refused.value.status == status
    assert "not authorized" in refused.value.message or "does not exist" in refused.value.message


def test_a_revoked_certificate_is_refused(connector: Callable[..., Connector], emulator: Emulator) -> None:
    made = connector()
    assert current_user(made.connect(CAS, "pg8000", user=USER, db="mydb")) == USER
    assert emulator.control("/revoke", {"instance": CAS})["certificates"] > 0
    with pytest.raises(Exception, match=r"(?i)revoked|reset|closed|broken pipe|EOF|network error"):
        made.connect(CAS, "pg8000", user=USER, db="mydb")
    assert not emulator.sessions(CAS)[-1]["authenticated"]


def test_the_stand_in_for_sql_server_knows_passwords_alone(
    connector: Callable[..., Connector], emulator: Emulator
) -> None:
    made = connector(enable_iam_auth=False)
    connection = made.connect(SQL_SERVER, "pytds", user=emulator.user, password=emulator.password, db="mydb")
    cursor = connection.cursor()
    cursor.execute("SELECT SUSER_SNAME(), DB_NAME(), %s, %s", ("grün", 7))
    assert cursor.fetchall() == [(emulator.user, "mydb", "grün", 7)]
    with pytest.raises(pytds.OperationalError, match="'CREATE' is not supported"):
        cursor.execute("CREATE TABLE t (a int)")
    connection.close()
    with pytest.raises(pytds.OperationalError, match="Login failed for user"):
        made.connect(SQL_SERVER, "pytds", user=emulator.user, password="wrong", db="mydb")
