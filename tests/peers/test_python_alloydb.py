"""Google's Python connector for AlloyDB logs in through the emulator, and is refused where the service refuses it."""

from __future__ import annotations

import asyncio
import datetime
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import google.api_core.exceptions
import google.auth.credentials
import google.oauth2.service_account
import pg8000.exceptions
import psycopg
import pytest
from conftest import ALLOYDB, HUMAN, NO_IAM_ALLOYDB, READ_POOL, SERVICE_ACCOUNT, Emulator
from google.cloud.alloydbconnector import AsyncConnector, Connector, RefreshStrategy
from google.cloud.alloydbconnector.exceptions import IPTypeNotFoundError

LOOP = asyncio.new_event_loop()
USER = "cloudsql-client@your-project-id.iam"
API_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN_SCOPE = "https://www.googleapis.com/auth/alloydb.login"
ADMIN_SCOPE = "https://www.googleapis.com/auth/sqlservice.admin"


class Scripted(google.auth.credentials.Credentials):
    """Credentials of any principal whose tokens are as good or as bad as a test wants."""

    def __init__(self, emulator: Emulator, principal: str, scope: str = API_SCOPE, **wanted: Any) -> None:
        super().__init__()
        self._emulator = emulator
        self._wanted = {"principal": principal, "scopes": [scope]} | wanted

    def refresh(self, request: object) -> None:
        self.token = self._emulator.control("/token", self._wanted)["access_token"]
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.expiry = now + datetime.timedelta(hours=1)


@pytest.fixture
def connector(emulator: Emulator) -> Iterator[Callable[..., Connector]]:
    """Makes connectors that are closed at the end."""
    made: list[Connector] = []

    def make(**arguments: Any) -> Connector:
        defaults = {"alloydb_api_endpoint": emulator.ready["grpc"], "enable_iam_auth": True}
        made.append(Connector(**(defaults | arguments)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def psc_name(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Resolves the name of the Private Service Connect endpoint, as a private zone does."""
    described = emulator.instance(ALLOYDB)
    name = described["psc_dns_name"].rstrip(".")
    address = described["addresses"]["PSC"].split(":")[0]
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
        return real(address if host == name else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return name


def current_user(connection: Any) -> str:
    cursor = connection.cursor()
    cursor.execute("SELECT current_user")
    (user,) = cursor.fetchone()
    connection.close()
    return user


def fetch_user(emulator: Emulator, instance: str = ALLOYDB, **arguments: Any) -> str:
    """The user that asyncpg logs in."""
    for_connector = {
        name: arguments.pop(name)
        for name in ("credentials", "enable_iam_auth", "refresh_strategy", "ip_type")
        if name in arguments
    }

    async def run() -> str:
        made = AsyncConnector(alloydb_api_endpoint=emulator.ready["grpc"], **for_connector)
        async with made:
            connection = await made.connect(instance, "asyncpg", db="mydb", **arguments)
            user = await connection.fetchval("SELECT current_user")
            await connection.close()
            return user

    # Always the same loop: gRPC's threads outlive one.
    return LOOP.run_until_complete(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
@pytest.mark.parametrize("ip_type", ["PRIVATE", "PUBLIC"])
def test_it_logs_in(connector: Callable[..., Connector], emulator: Emulator, driver: str, ip_type: str) -> None:
    connection = connector(ip_type=ip_type).connect(ALLOYDB, driver, user=USER, db="mydb")
    assert current_user(connection) == USER
    session = emulator.sessions(ALLOYDB)[-1]
    kind = "PRIMARY" if ip_type == "PUBLIC" else ip_type
    assert session["server"] == emulator.instance(ALLOYDB)["addresses"][kind]
    assert (session["principal"], session["auth_type"]) == (SERVICE_ACCOUNT, "AUTO_IAM")
    assert f"+{driver}" in session["user_agent"]


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
def test_it_logs_in_through_private_service_connect(
    connector: Callable[..., Connector], emulator: Emulator, psc_name: str, driver: str
) -> None:
    connection = connector(ip_type="PSC").connect(ALLOYDB, driver, user=USER, db="mydb")
    assert current_user(connection) == USER
    assert emulator.sessions(ALLOYDB)[-1]["server_name"] == psc_name


def test_a_read_pool_is_an_instance(connector: Callable[..., Connector], emulator: Emulator) -> None:
    made = connector()
    assert current_user(made.connect(READ_POOL, "pg8000", user=USER, db="mydb")) == USER
    assert emulator.sessions(READ_POOL)[-1]["user"] == USER
    with pytest.raises(IPTypeNotFoundError):
        made.connect(READ_POOL, "pg8000", user=USER, db="mydb", ip_type="PUBLIC")


@pytest.mark.parametrize("strategy", list(RefreshStrategy))
def test_asyncpg_logs_in_with_a_token_as_its_password(emulator: Emulator, strategy: RefreshStrategy) -> None:
    assert fetch_user(emulator, user=USER, enable_iam_auth=True, refresh_strategy=strategy) == USER
    assert emulator.sessions(ALLOYDB)[-1]["auth_type"] is None


def test_a_service_account_key_logs_in(connector: Callable[..., Connector], emulator: Emulator) -> None:
    info = emulator.control("/service-account-key", {"principal": SERVICE_ACCOUNT})
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(info)
    made = connector(credentials=credentials)
    assert current_user(made.connect(ALLOYDB, "pg8000", user=USER, db="mydb")) == USER


def test_another_principal_logs_in_than_calls_the_api(connector: Callable[..., Connector], emulator: Emulator) -> None:
    made = connector(db_credentials=Scripted(emulator, HUMAN, LOGIN_SCOPE))
    assert current_user(made.connect(ALLOYDB, "pg8000", user=HUMAN, db="mydb")) == HUMAN


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
def test_a_built_in_user_logs_in_with_its_password(
    connector: Callable[..., Connector], emulator: Emulator, driver: str
) -> None:
    made = connector(enable_iam_auth=False)
    arguments = {"user": emulator.user, "password": emulator.password, "db": "mydb"}
    assert current_user(made.connect(ALLOYDB, driver, **arguments)) == emulator.user
    assert emulator.sessions(ALLOYDB)[-1]["auth_type"] == "DB_NATIVE"
    with pytest.raises(Exception, match="password authentication failed"):
        made.connect(ALLOYDB, driver, **(arguments | {"password": "wrong"}))


def test_asyncpg_logs_in_a_built_in_user(emulator: Emulator) -> None:
    assert fetch_user(emulator, user=emulator.user, password=emulator.password) == emulator.user


def test_nobody_but_the_tokens_user_uses_an_iam_connection(
    connector: Callable[..., Connector], emulator: Emulator
) -> None:
    made = connector()
    for user in [HUMAN, emulator.user, "nobody"]:
        with pytest.raises(pg8000.exceptions.DatabaseError) as refused:
            made.connect(ALLOYDB, "pg8000", user=user, password=emulator.password, db="mydb")
        (fields,) = refused.value.args
        assert (fields["S"], fields["C"]) == ("FATAL", "28000")
        assert fields["M"] == f'AlloyDB IAM user authentication failed for user "{user}"'
    with pytest.raises(psycopg.OperationalError, match="AlloyDB IAM user authentication failed"):
        made.connect(ALLOYDB, "psycopg", user=HUMAN, db="mydb")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="AlloyDB IAM user"):
        fetch_user(emulator, user=HUMAN, enable_iam_auth=True)


def test_the_flag_of_the_instance_counts(connector: Callable[..., Connector], emulator: Emulator) -> None:
    with pytest.raises(pg8000.exceptions.DatabaseError, match="IAM user authentication failed"):
        connector().connect(NO_IAM_ALLOYDB, "pg8000", user=USER, db="mydb")
    assert "alloydb.iam_authentication" in emulator.sessions(NO_IAM_ALLOYDB)[-1]["error"]


@pytest.mark.parametrize("iam", [True, False])
@pytest.mark.parametrize(
    ("wanted", "reason"),
    [({"scope": ADMIN_SCOPE}, "insufficient scopes"), ({"lifetime_ms": 0}, "invalid OAuth2 token")],
    ids=["wrong scope", "expired"],
)
def test_a_bad_token_does_not_pass_the_metadata_exchange(
    connector: Callable[..., Connector], emulator: Emulator, iam: bool, wanted: dict[str, Any], reason: str
) -> None:
    made = connector(enable_iam_auth=iam, db_credentials=Scripted(emulator, SERVICE_ACCOUNT, **wanted))
    with pytest.raises(ValueError, match=f"Metadata Exchange request has failed with error: .*{reason}"):
        made.connect(ALLOYDB, "pg8000", user=emulator.user, password=emulator.password, db="mydb")


def test_a_principal_without_the_login_role_is_refused(connector: Callable[..., Connector], emulator: Emulator) -> None:
    email = "alloydb-client@your-project-id.iam.gserviceaccount.com"
    emulator.control("/principals", {"email": email, "roles": ["roles/alloydb.client"]})
    made = connector(credentials=Scripted(emulator, email))
    with pytest.raises(pg8000.exceptions.DatabaseError, match="IAM user authentication failed"):
        made.connect(ALLOYDB, "pg8000", user=email.removesuffix(".gserviceaccount.com"), db="mydb")
    assert "roles/alloydb.databaseUser" in emulator.sessions(ALLOYDB)[-1]["error"]


def test_the_api_refuses(connector: Callable[..., Connector], emulator: Emulator) -> None:
    email = "cloudsql-only@your-project-id.iam.gserviceaccount.com"
    emulator.control("/principals", {"email": email, "roles": ["roles/cloudsql.client"]})
    lazy = {"refresh_strategy": "lazy"}
    stranger = connector(credentials=Scripted(emulator, email), **lazy)
    with pytest.raises(google.api_core.exceptions.PermissionDenied, match=r"alloydb\.\w+\.\w+' denied") as refused:
        stranger.connect(ALLOYDB, "pg8000", user=USER, db="mydb")
    assert refused.value.reason == "IAM_PERMISSION_DENIED"
    with pytest.raises(google.api_core.exceptions.NotFound, match="absent"):
        connector(**lazy).connect(ALLOYDB.replace("my-primary", "absent"), "pg8000", user=USER, db="mydb")
    narrow = connector(credentials=Scripted(emulator, SERVICE_ACCOUNT, LOGIN_SCOPE), **lazy)
    with pytest.raises(google.api_core.exceptions.PermissionDenied, match="insufficient authentication scopes"):
        narrow.connect(ALLOYDB, "pg8000", user=USER, db="mydb")
    stale = connector(credentials=Scripted(emulator, SERVICE_ACCOUNT, lifetime_ms=0), **lazy)
    with pytest.raises(google.api_core.exceptions.Unauthenticated):
        stale.connect(ALLOYDB, "pg8000", user=USER, db="mydb")


@pytest.mark.parametrize("certificate", ["wrong_address", "foreign_ca", "expired", "client_auth_only"])
def test_a_wrong_server_is_refused_before_anything_is_told(
    connector: Callable[..., Connector], emulator: Emulator, certificate: str
) -> None:
    path = "/instances/" + urllib.parse.quote(ALLOYDB, safe="")
    emulator.control(path, {"certificate": certificate}, method="PATCH")
    try:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            connector().connect(ALLOYDB, "pg8000", user=USER, db="mydb")
    finally:
        emulator.control(path, {"certificate": "genuine"}, method="PATCH")
    session = emulator.sessions(ALLOYDB)[-1]
    assert not session["certificate_seen"]
    assert session["received"] == 0


@pytest.mark.parametrize(
    ("effect", "raised", "text"),
    [
        ({"kind": "refuse_exchange", "message": "not today"}, ValueError, "not today"),
        ({"kind": "reset_mid_body"}, RuntimeError, "Connection closed while performing"),
        ({"kind": "malformed"}, Exception, "Error parsing message"),
    ],
    ids=["refused", "cut off", "malformed"],
)
def test_the_exchange_can_be_disturbed(
    connector: Callable[..., Connector],
    emulator: Emulator,
    effect: dict[str, Any],
    raised: type[Exception],
    text: str,
) -> None:
    made = connector()
    fault = {"endpoint": "metadataExchange", "instance": ALLOYDB, "effect": effect, "times": 1}
    emulator.control("/faults", fault)
    with pytest.raises(raised, match=text):
        made.connect(ALLOYDB, "pg8000", user=USER, db="mydb")
    assert current_user(made.connect(ALLOYDB, "pg8000", user=USER, db="mydb")) == USER


def test_the_client_retries_what_is_unavailable(connector: Callable[..., Connector], emulator: Emulator) -> None:
    effect = {"kind": "status", "status": 503}
    emulator.control("/faults", {"endpoint": "connectionInfo", "effect": effect, "times": 1})
    made = connector(refresh_strategy="lazy")
    assert current_user(made.connect(ALLOYDB, "pg8000", user=USER, db="mydb")) == USER


def test_calls_are_noted(connector: Callable[..., Connector], emulator: Emulator) -> None:
    made = connector(quota_project="my-quota", user_agent="my-agent/1")
    assert current_user(made.connect(READ_POOL, "psycopg", user=USER, db="mydb")) == USER
    calls = emulator.control("/calls", method="GET")
    (info, certificate) = [
        [call for call in calls if call["endpoint"] == endpoint][-1]
        for endpoint in ("connectionInfo", "generateClientCertificate")
    ]
    assert info["instance"] == READ_POOL
    assert info["path"] == "/google.cloud.alloydb.v1beta.AlloyDBAdmin/GetConnectionInfo"
    assert (certificate["detail"], certificate["status"]) == ("metadata_exchange", 200)
    assert "+psycopg my-agent/1" in info["api_client"]
    assert info["quota_project"] == "my-quota"
