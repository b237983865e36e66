"""Google's Python connector on MySQL: PyMySQL logs in, and is refused where the real service refuses it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
from conftest import HUMAN, SERVICE_ACCOUNT, Emulator
from google.cloud.sql.connector import Connector

MYSQL = "your-project-id:us-central1:peer-mysql"
NATIVE = "your-project-id:us-central1:peer-mysql-native"
USER = "cloudsql-client"
THEIRS = (
    "Cloud SQL MySQL: Automatic IAM authentication via the auth-proxy requires an IAM-authenticated user. "
    "Access denied for other users."
)


@pytest.fixture(scope="module", autouse=True)
def instances(emulator: Emulator) -> None:
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    if not shutil.which("mariadbd", path=path) and not os.environ.get("CI"):
        pytest.skip("no MariaDB on this machine")
    emulator.control("/instances", {"name": MYSQL, "database": "mysql"})
    emulator.control("/instances", {"name": NATIVE, "database": "mysql", "password_plugin": "mysql_native_password"})


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


def current_user(connection: pymysql.Connection) -> str:
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        ((user,),) = cursor.fetchall()
    return user


@pytest.mark.parametrize("user", [USER, SERVICE_ACCOUNT])
@pytest.mark.parametrize("ip_type", ["public", "private"])
def test_it_logs_in(connector: Callable[..., Connector], emulator: Emulator, user: str, ip_type: str) -> None:
    connection = connector(ip_type=ip_type).connect(MYSQL, "pymysql", user=user, db="mydb")
    assert current_user(connection) == f"{USER}@%"
    session = emulator.sessions(MYSQL)[-1]
    assert (session["principal"], session["user"], session["database"]) == (SERVICE_ACCOUNT, USER, "mydb")


def test_an_iam_connection_is_for_its_principal_alone(connector: Callable[..., Connector], emulator: Emulator) -> None:
    made = connector()
    for user, password in [(HUMAN, None), ("root", None), (emulator.user, emulator.password)]:
        with pytest.raises(pymysql.err.OperationalError) as refused:
            made.connect(MYSQL, "pymysql", user=user, password=password, db="mydb")
        assert refused.value.args == (1045, THEIRS)


@pytest.mark.parametrize("instance", [MYSQL, NATIVE])
def test_a_built_in_user_logs_in_with_its_password(
    connector: Callable[..., Connector], emulator: Emulator, instance: str
) -> None:
    made = connector(enable_iam_auth=False)
    # First the whole password, encrypted; then what is remembered of it.
    for _ in range(2):
        connection = made.connect(instance, "pymysql", user=emulator.user, password=emulator.password, db="mydb")
        assert current_user(connection) == f"{emulator.user}@%"
    with pytest.raises(pymysql.err.OperationalError, match=r"Access denied for user .* \(using password: YES\)") as bad:
        made.connect(instance, "pymysql", user=emulator.user, password="wrong", db="mydb")
    assert bad.value.args[0] == 1045


def test_a_database_that_does_not_exist_is_mysqls_own_error(connector: Callable[..., Connector]) -> None:
    with pytest.raises(pymysql.err.OperationalError) as refused:
        connector().connect(MYSQL, "pymysql", user=USER, db="nowhere")
    assert refused.value.args[0] in (1044, 1049)


def test_a_refusal_is_explained_to_whoever_runs_the_instance(
    connector: Callable[..., Connector], emulator: Emulator
) -> None:
    emulator.control(f"/instances/{MYSQL}", {"iam": False}, "PATCH")
    try:
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            connector().connect(MYSQL, "pymysql", user=USER, db="mydb")
        assert "cloudsql.iam_authentication" in emulator.sessions(MYSQL)[-1]["error"]
    finally:
        emulator.control(f"/instances/{MYSQL}", {"iam": True}, "PATCH")
