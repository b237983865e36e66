"""Each driver and framework, on each database, with each way to log in: it connects and asks who it is.

With `IAMSQL_DRIVER_MATRIX` set to a file, each row adds a line of JSON to it, from which `scripts/drivers` writes
docs/drivers.md.
"""

from __future__ import annotations

import json
import os

import pytest

import frameworks
import iamsql
from drivers import answer
from emulator import DATABASE, IAM_USER, INSTANCE, PROJECT

DATABASES = ("postgres", "mysql", "sqlserver", "alloydb")
LOGINS = ("iam", "password")
INSTANCES = {
    "postgres": INSTANCE,
    "mysql": f"{PROJECT}:us-central1:demo-mysql",
    "sqlserver": f"{PROJECT}:us-central1:demo-sqlserver",
    "alloydb": "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary",
}
QUESTIONS = {
    "postgres": "SELECT current_user",
    "mysql": "SELECT CURRENT_USER()",
    "sqlserver": "SELECT SUSER_SNAME()",
    "alloydb": "SELECT current_user",
}
IAM_USERS = {"postgres": IAM_USER, "mysql": "cloudsql-client", "alloydb": IAM_USER}

POSTGRES, MYSQL, SQLSERVER = ("postgres", "alloydb"), ("mysql",), ("sqlserver",)
DRIVERS = {
    "pg8000": ("pg8000", POSTGRES, "PostgreSQL"),
    "psycopg": ("psycopg", POSTGRES, "PostgreSQL"),
    "psycopg (async)": ("psycopg-async", POSTGRES, "PostgreSQL"),
    "psycopg2": ("psycopg2", POSTGRES, "PostgreSQL"),
    "asyncpg": ("asyncpg-async", POSTGRES, "PostgreSQL"),
    "PyMySQL": ("pymysql", MYSQL, "MySQL"),
    "mysqlclient": ("mysqlclient", MYSQL, "MySQL"),
    "aiomysql": ("aiomysql-async", MYSQL, "MySQL"),
    "asyncmy": ("asyncmy-async", MYSQL, "MySQL"),
    "python-tds": ("pytds", SQLSERVER, "SQL Server"),
}
NO_IAM = "Cloud SQL for SQL Server has no IAM logins"
NO_DIALECT = "SQLAlchemy has no dialect for python-tds, and the drivers that it has open connections of their own"
FRAMEWORKS = {
    "SQLAlchemy": (frameworks.sqlalchemy, NO_DIALECT),
    "SQLAlchemy async": (frameworks.sqlalchemy_async, NO_DIALECT),
    "SQLModel": (frameworks.sqlmodel, NO_DIALECT),
    "Alembic": (frameworks.alembic, NO_DIALECT),
    "Django": (frameworks.django, "Django itself knows no SQL Server, and mssql-django opens connections of its own"),
    "gevent": (frameworks.gevent, None),
    "eventlet": (frameworks.eventlet, None),
    "uvloop": (frameworks.uvloop, "python-tds knows no event loop"),
    "gunicorn --preload": (frameworks.gunicorn, None),
}


class Place:
    """An instance of the emulator and whom to log in to it as."""

    def __init__(self, emulator, connector, run, tmp_path, database, auth) -> None:
        self.connector, self.run, self.tmp_path = connector, run, tmp_path
        self.database, self.auth, self.question = database, auth, QUESTIONS[database]
        self.instance = INSTANCES[database]
        self.arguments = {"db": DATABASE, "enable_iam_auth": auth == "iam"}
        self.expected = IAM_USERS.get(database)
        if auth == "password":
            user = emulator.ready["users"][0]
            self.arguments.update(user=user["name"], password=user["password"])
            self.expected = user["name"]

    def check(self, answered: str) -> None:
        # MySQL's accounts are of a user and of where it comes from.
        assert answered.split("@%")[0] == self.expected


@pytest.fixture
def place(request, emulator, connector, run, tmp_path, database, auth):
    known = {instance["name"] for instance in emulator.control("GET", "/instances")}
    if INSTANCES[database] not in known:
        reason = f"the emulator has no {database} here: is its server installed?"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return Place(emulator, connector, run, tmp_path, database, auth)


@pytest.mark.parametrize("auth", LOGINS)
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_driver(place, driver, database, auth):
    name, databases, speaks = DRIVERS[driver]
    if database not in databases:
        with pytest.raises(iamsql.ConfigError):
            answer(place.connector, name, place.instance, place.question, **place.arguments)
        report(driver, database, auth, "not applicable", f"it speaks to {speaks} only")
    elif (database, auth) == ("sqlserver", "iam"):
        with pytest.raises(iamsql.ConfigError):
            answer(place.connector, name, place.instance, place.question, **place.arguments)
        report(driver, database, auth, "not applicable", NO_IAM)
    else:
        place.check(answer(place.connector, name, place.instance, place.question, **place.arguments))
        report(driver, database, auth, "pass")


@pytest.mark.parametrize("auth", LOGINS)
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_framework(request, framework, database, auth):
    connect, not_on_sql_server = FRAMEWORKS[framework]
    if database == "sqlserver" and (not_on_sql_server or auth == "iam"):
        report(framework, database, auth, "not applicable", not_on_sql_server or NO_IAM)
        return
    place = request.getfixturevalue("place")
    place.check(connect(place))
    report(framework, database, auth, "pass")


def report(driver: str, database: str, auth: str, result: str, why: str = "") -> None:
    path = os.environ.get("IAMSQL_DRIVER_MATRIX")
    if path:
        row = {"language": "python", "driver": driver, "database": database, "auth": auth, "result": result, "why": why}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
