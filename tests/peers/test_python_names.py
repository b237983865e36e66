"""Google's Python connector finds instances by name: domain names, instance DNS names, Private Service Connect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import dns.resolver
import pytest
from conftest import INSTANCE, Emulator
from google.cloud.sql.connector import Connector, DnsResolver
from google.cloud.sql.connector.exceptions import DnsLoopError, DnsResolutionError

USER = "cloudsql-client@your-project-id.iam"
PSC = "your-project-id:us-central1:psc-postgres"
PSC_NAME = "a1b2.c3d4.us-central1.sql-psc.goog"


def nameserver(emulator: Emulator) -> tuple[str, int]:
    host, port = emulator.ready["dns"].rsplit(":", 1)
    return host, int(port)


@pytest.fixture
def records(emulator: Emulator) -> Iterator[Callable[..., None]]:
    """Puts names into the emulator's DNS server until the test ends."""
    names: list[str] = []

    def put(name: str, *values: tuple[str, Any]) -> None:
        body = [{"type": kind, "value": value} for kind, value in values]
        emulator.control(f"/dns/names/{name}", body, "PUT")
        names.append(name)

    yield put
    for name in names:
        emulator.control(f"/dns/names/{name}", method="DELETE")


@pytest.fixture
def connector(emulator: Emulator) -> Iterator[Callable[..., Connector]]:
    """Makes connectors that ask the emulator's DNS server."""

    class Resolver(DnsResolver):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, configure=False, **kwargs)
            address, self.port = nameserver(emulator)
            self.nameservers = [address]

    made: list[Connector] = []

    def make(**arguments: Any) -> Connector:
        defaults = {"sqladmin_api_endpoint": emulator.url, "enable_iam_auth": True, "resolver": Resolver}
        made.append(Connector(**(defaults | arguments)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def psc(emulator: Emulator) -> Iterator[str]:
    """An instance with a PSC endpoint alone, whose name the machine's resolver knows, as a VPC's would."""
    spec = {"name": PSC, "database": "postgres", "addresses": ["PSC"], "psc_dns_name": PSC_NAME + "."}
    emulator.control("/instances", spec)
    resolver = dns.resolver.Resolver(configure=False)
    address, resolver.port = nameserver(emulator)
    resolver.nameservers = [address]
    dns.resolver.override_system_resolver(resolver)
    yield PSC
    dns.resolver.restore_system_resolver()
    emulator.control(f"/instances/{PSC}", method="DELETE")


def user_of(connection: Any) -> str:
    cursor = connection.cursor()
    cursor.execute("SELECT current_user")
    (user,) = cursor.fetchone()
    connection.close()
    return user


def test_a_txt_record_names_the_instance(connector: Callable[..., Connector], records: Callable[..., None]) -> None:
    records("db.example.com", ("TXT", ["not an instance"]), ("TXT", [INSTANCE]))
    connection = connector().connect("db.example.com", "pg8000", user=USER, db="mydb")
    assert user_of(connection) == USER


def test_a_cname_is_followed(connector: Callable[..., Connector], records: Callable[..., None]) -> None:
    records("db.example.com", ("TXT", [INSTANCE]))
    records("alias.example.com", ("CNAME", "db.example.com"))
    assert user_of(connector().connect("alias.example.com", "pg8000", user=USER, db="mydb")) == USER


def test_names_that_lead_nowhere_are_refused(connector: Callable[..., Connector], records: Callable[..., None]) -> None:
    records("a.example.com", ("CNAME", "b.example.com"))
    records("b.example.com", ("CNAME", "a.example.com"))
    with pytest.raises(DnsLoopError):
        connector().connect("a.example.com", "pg8000", user=USER, db="mydb")
    with pytest.raises(DnsResolutionError):
        connector().connect("absent.example.com", "pg8000", user=USER, db="mydb")


def test_an_address_record_chooses_where_to_dial(
    connector: Callable[..., Connector], records: Callable[..., None], emulator: Emulator
) -> None:
    (known,) = [one for one in emulator.ready["instances"] if one["name"] == INSTANCE]
    private = known["addresses"]["PRIVATE"]
    records("db.example.com", ("TXT", [INSTANCE]), ("A", private.rsplit(":", 1)[0]))
    assert user_of(connector().connect("db.example.com", "pg8000", user=USER, db="mydb")) == USER
    assert emulator.sessions()[-1]["server"] == private


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
def test_private_service_connect_is_dialled_by_name(
    connector: Callable[..., Connector], psc: str, driver: str, emulator: Emulator
) -> None:
    assert user_of(connector(ip_type="psc").connect(psc, driver, user=USER, db="mydb")) == USER
    assert emulator.sessions(psc)[-1]["server_name"] == PSC_NAME


def test_an_instances_own_name_names_it(connector: Callable[..., Connector], psc: str, emulator: Emulator) -> None:
    assert user_of(connector(ip_type="psc").connect(PSC_NAME, "pg8000", user=USER, db="mydb")) == USER
    calls = emulator.control("/calls", method="GET")
    assert any(one["endpoint"] == "resolveConnectSettings" and one["status"] == 200 for one in calls)


@pytest.mark.parametrize("status", [403, 404])
def test_a_name_that_may_not_be_resolved_is_refused(
    connector: Callable[..., Connector], psc: str, emulator: Emulator, status: int
) -> None:
    fault = {"endpoint": "resolveConnectSettings", "effect": {"kind": "status", "status": status}, "instance": psc}
    emulator.control("/faults", fault | {"times": 1})
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        connector(ip_type="psc").connect(PSC_NAME, "pg8000", user=USER, db="mydb")
    assert refused.value.status == status
