"""Google's Python authentication library borrows identities from the emulator, and its connector logs in with them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import google.auth.credentials
import google.auth.exceptions
import google.auth.impersonated_credentials
import google.oauth2.credentials
import pytest
from conftest import HUMAN, INSTANCE, SERVICE_ACCOUNT, Emulator
from google.auth.transport.requests import Request
from google.cloud.sql.connector import Connector

READER = "reader@your-project-id.iam.gserviceaccount.com"
USER = "reader@your-project-id.iam"
ADMIN_SCOPE = "https://www.googleapis.com/auth/sqlservice.admin"
DENIED = r"iam\.serviceAccounts\.getAccessToken"
SOURCES = ["file", "json file", "url", "json url", "executable", "aws"]


# The library would rather be told the type of a file than find it out.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file method:DeprecationWarning")


@pytest.fixture(autouse=True)
def reader(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service account that nobody may act as yet."""
    emulator.control("/principals", {"email": READER})
    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")


@pytest.fixture
def workload(emulator: Emulator, tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Makes a workload that is known elsewhere: who it is here, and its configuration file."""

    def make(source: str, **rest: Any) -> tuple[str, Path]:
        body: dict[str, Any] = {"subject": "robot", "json": source.startswith("json"), **rest}
        kind = source.rsplit(" ", 1)[-1]
        token = emulator.control("/subject-token", {"subject": "robot"})
        if kind == "file":
            path = tmp_path / "subject-token"
            text = token["subject_token"]
            path.write_text(json.dumps({"id_token": text}) if body["json"] else text)
            body["source"] = {"file": str(path)}
        elif kind == "executable":
            script = tmp_path / "print_token.py"
            script.write_text(f"print({json.dumps(token['executable_response'])!r})")
            body["source"] = {"executable": {"command": f"{sys.executable} {script}"}}
        else:
            body["source"] = kind
        answer = emulator.control("/external-account", body)
        configuration = tmp_path / "configuration.json"
        configuration.touch(0o600)
        configuration.write_text(json.dumps(answer["configuration"]))
        return answer["principal"], configuration

    return make


@pytest.fixture
def login(emulator: Emulator) -> Iterator[Callable[..., str]]:
    """Who the database says we are, with such credentials."""
    made: list[Connector] = []

    def log_in(credentials: Any, iam: bool = True, **arguments: Any) -> str:
        made.append(Connector(sqladmin_api_endpoint=emulator.url, credentials=credentials, enable_iam_auth=iam))
        connection = made[-1].connect(INSTANCE, "pg8000", db="mydb", **arguments)
        cursor = connection.cursor()
        cursor.execute("SELECT current_user")
        (user,) = cursor.fetchone()
        connection.close()
        return user

    yield log_in
    for one in made:
        one.close()


def load(path: Path) -> Any:
    """The file's credentials. Loaded with scopes, they would ask Google for the project's name at once."""
    credentials, _ = google.auth.load_credentials_from_file(str(path))
    return google.auth.credentials.with_scopes_if_required(credentials, [ADMIN_SCOPE])


def token_creator(emulator: Emulator, member: str, account: str = READER) -> None:
    emulator.control("/token-creators", {"service_account": account, "member": member})


@pytest.mark.parametrize("source", SOURCES)
def test_a_workload_acts_as_a_service_account(
    emulator: Emulator, workload: Callable[..., tuple[str, Path]], login: Callable[..., str], source: str
) -> None:
    principal, path = workload(source, impersonate=READER)
    token_creator(emulator, principal)
    credentials = load(path)
    assert credentials.service_account_email == READER
    assert login(credentials, user=USER) == USER


@pytest.mark.parametrize("source", ["url", "aws"])
def test_a_workload_needs_to_be_a_token_creator(workload: Callable[..., tuple[str, Path]], source: str) -> None:
    _, path = workload(source, impersonate=READER)
    credentials = load(path)
    with pytest.raises(google.auth.exceptions.RefreshError, match=DENIED):
        credentials.refresh(Request())


@pytest.mark.parametrize("source", SOURCES)
def test_a_workload_is_somebody_itself(
    emulator: Emulator, workload: Callable[..., tuple[str, Path]], login: Callable[..., str], source: str
) -> None:
    principal, path = workload(source)
    emulator.control("/principals", {"email": principal, "roles": ["roles/cloudsql.client"]})
    credentials = load(path)
    user = login(credentials, iam=False, user=emulator.user, password=emulator.password)
    assert user == emulator.user


def test_a_stale_subject_token_is_refused(
    emulator: Emulator, workload: Callable[..., tuple[str, Path]], tmp_path: Path
) -> None:
    _, path = workload("file")
    stale = emulator.control("/subject-token", {"subject": "robot", "lifetime_ms": 0})
    (tmp_path / "subject-token").write_text(stale["subject_token"])
    credentials = load(path)
    with pytest.raises(google.auth.exceptions.OAuthError, match=r"invalid_grant.*stale"):
        credentials.refresh(Request())


def test_foreign_aws_keys_are_refused(
    workload: Callable[..., tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = workload("aws")
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-somebody-else")
    credentials = load(path)
    with pytest.raises(google.auth.exceptions.OAuthError, match="InvalidClientTokenId"):
        credentials.refresh(Request())


def test_a_workforce_login_refreshes(emulator: Emulator, login: Callable[..., str], tmp_path: Path) -> None:
    person = emulator.control("/workforce-user", {"subject": "ada@corp.example"})
    emulator.control("/principals", {"email": person["principal"], "roles": ["roles/cloudsql.client"]})
    path = tmp_path / "person.json"
    path.touch(0o600)
    path.write_text(json.dumps(person["configuration"]))
    user = login(load(path), iam=False, user=emulator.user, password=emulator.password)
    assert user == emulator.user


def impersonated(
    emulator: Emulator, delegates: list[str] | None = None
) -> google.auth.impersonated_credentials.Credentials:
    """The human acts as the reader. The library reads neither token_uri nor URL from such a file: it is told both."""
    body = {"source": HUMAN, "delegates": delegates or [], "target": READER}
    file = emulator.control("/impersonated-service-account", body)
    source = file["source_credentials"]
    human = google.oauth2.credentials.Credentials(
        None,
        refresh_token=source["refresh_token"],
        token_uri=source["token_uri"],
        client_id=source["client_id"],
        client_secret=source["client_secret"],
    )
    return google.auth.impersonated_credentials.Credentials(
        human,
        READER,
        [ADMIN_SCOPE],
        delegates=file["delegates"],
        iam_endpoint_override=file["service_account_impersonation_url"],
    )


def test_a_human_acts_as_a_service_account(emulator: Emulator, login: Callable[..., str]) -> None:
    with pytest.raises(google.auth.exceptions.RefreshError, match=DENIED):
        impersonated(emulator).refresh(Request())
    token_creator(emulator, HUMAN)
    assert login(impersonated(emulator), user=USER) == USER


def test_a_chain_of_delegates_holds(emulator: Emulator, login: Callable[..., str]) -> None:
    token_creator(emulator, SERVICE_ACCOUNT)
    with pytest.raises(google.auth.exceptions.RefreshError):
        impersonated(emulator, [SERVICE_ACCOUNT]).refresh(Request())
    token_creator(emulator, HUMAN, SERVICE_ACCOUNT)
    assert login(impersonated(emulator, [SERVICE_ACCOUNT]), user=USER) == USER
    emulator.control("/principals", {"email": SERVICE_ACCOUNT})
