"""The ways to hand in credentials, and that none of them shows."""

import json
import pickle
import time

import pytest

import iamsql
from drivers import answer
from emulator import DATABASE, HUMAN, IAM_USER, INSTANCE, SERVICE_ACCOUNT
from iamsql import _native
from iamsql.credentials import GoogleAuth, adopt


@pytest.fixture
def key(emulator) -> dict:
    return emulator.control("POST", "/service-account-key", {"principal": SERVICE_ACCOUNT})


def test_a_key_file(emulator, key, tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key))
    for given in (path, str(path)):
        with iamsql.Connector(credentials=given, emulator_host=emulator.host) as connector:
            assert answer(connector, "pg8000", INSTANCE, db=DATABASE) == IAM_USER


def test_a_key_as_text(emulator, key):
    with iamsql.Connector(credentials_json=json.dumps(key), emulator_host=emulator.host) as connector:
        assert answer(connector, "psycopg", INSTANCE, db=DATABASE) == IAM_USER


class Source:
    """A token source of a user's own."""

    def __init__(self, emulator) -> None:
        self.emulator = emulator
        self.asked = []

    def token(self, scope):
        self.asked.append(scope)
        return self.emulator.token(scope.rsplit("/", 1)[1]), time.time() + 3000, SERVICE_ACCOUNT

    def principal(self):
        return SERVICE_ACCOUNT


def outside(emulator, **options) -> iamsql.Connector:
    """A connector that does not know that its Admin API is an emulator's: there, foreign credentials are refused."""
    return iamsql.Connector(sqladmin_api_endpoint=f"http://{emulator.host}", **options)


def test_a_token_source(emulator):
    source = Source(emulator)
    with outside(emulator, credentials=source) as connector:
        for driver in ("pg8000", "psycopg-async"):
            assert answer(connector, driver, INSTANCE, db=DATABASE) == IAM_USER
    assert {scope.rsplit(".", 1)[1] for scope in source.asked} == {"admin", "login"}


def test_ready_tokens(emulator):
    tokens = {"token": emulator.token("sqlservice.admin"), "login_token": emulator.token("sqlservice.login")}
    with outside(emulator, **tokens) as connector:
        assert answer(connector, "pg8000", INSTANCE, user=IAM_USER, db=DATABASE, enable_iam_auth=True) == IAM_USER


def test_a_token_source_that_raises_is_quoted(emulator):
    class Broken:
        def token(self, scope):
            raise LookupError("the vault\nis shut")

        def principal(self):
            return None

    with outside(emulator, credentials=Broken()) as connector, pytest.raises(iamsql.CredentialsError) as caught:
        answer(connector, "pg8000", INSTANCE, db=DATABASE)
    assert "LookupError" in str(caught.value)
    assert "the vault\\u{a}is shut" in str(caught.value)


def test_a_callback_is_refused_under_the_emulator(emulator):
    with pytest.raises(iamsql.ConfigError):
        answer(
            iamsql.Connector(credentials=Source(emulator), emulator_host=emulator.host), "pg8000", INSTANCE, db=DATABASE
        )


def test_a_google_auth_object(emulator):
    oauth2 = pytest.importorskip("google.oauth2.credentials")
    file = emulator.control("POST", "/authorized-user", {"principal": HUMAN})
    fields = {name: file[name] for name in ("refresh_token", "client_id", "client_secret", "token_uri")}
    credentials = oauth2.Credentials(None, **fields)
    with outside(emulator, credentials=credentials) as connector:
        for driver in ("pg8000", "asyncpg-async"):
            # Whose they are, Google would have to be asked: these credentials do not know.
            assert answer(connector, driver, INSTANCE, user=HUMAN, db=DATABASE, enable_iam_auth=True) == HUMAN
    logins = [call for call in emulator.calls() if call["endpoint"] == "token" and "sqlservice.login" in call["detail"]]
    assert logins
    assert "sqlservice.admin" not in logins[-1]["detail"]


def test_a_google_auth_object_is_narrowed_by_a_copy(key):
    service_account = pytest.importorskip("google.oauth2.service_account")
    credentials = service_account.Credentials.from_service_account_info(key)
    source = GoogleAuth(credentials, None)
    assert source.principal() == SERVICE_ACCOUNT
    assert credentials.scopes is None


def test_a_google_auth_object_of_another_universe(key):
    service_account = pytest.importorskip("google.oauth2.service_account")
    credentials = service_account.Credentials.from_service_account_info({**key, "universe_domain": "example.goog"})
    with pytest.raises(iamsql.ConfigError, match=r"example\.goog"):
        adopt(credentials, None)
    assert isinstance(adopt(credentials, "example.goog"), _native.Credentials)


def test_nothing_of_a_secret_shows(emulator, key):
    secret = "emulator-test-secret-that-must-not-show"
    source = Source(emulator)
    holders = [
        _native.Credentials.tokens(secret, secret),
        _native.Credentials.json(json.dumps(key)),
        _native.Credentials.source(source),
        iamsql.Connector(token=secret, login_token=secret),
        iamsql.Connector(credentials_json=json.dumps(key), emulator_host=emulator.host),
    ]
    for holder in holders:
        shown = f"{holder!r} {holder} {getattr(holder, '__dict__', {})!r} {dir(holder)}"
        assert secret not in shown
        assert key["private_key"][40:80] not in shown
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(holder, protocol)
        with pytest.raises(TypeError):
            json.dumps(holder)


def test_a_secret_in_foreign_text_is_struck_out():
    secret = "emulator-test-secret-in-a-message"
    kept = _native.Credentials.tokens(secret)
    assert _native.foreign_text(f"server said: {secret}\nFORGED") == "server said: [redacted]\\u{a}FORGED"
    assert len(_native.foreign_text("x" * 1000).encode()) <= 200
    del kept
