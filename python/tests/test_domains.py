"""Domain names, asked of the emulator's DNS server: in our own connector and in the official one's layer."""

import asyncio

import pytest

import iamsql
import iamsql.compat.cloudsql as compat
from drivers import answer
from emulator import DATABASE, IAM_USER, INSTANCE


@pytest.fixture
def domain(emulator):
    """Makes names that lead to an instance by a TXT record."""

    def make(name: str, instance: str = INSTANCE) -> str:
        emulator.control("PUT", f"/dns/names/{name}", [{"type": "TXT", "value": [instance]}])
        return name

    return make


@pytest.mark.parametrize("driver", ["pg8000", "psycopg", "asyncpg-async"])
def test_a_domain_name_leads_to_its_instance(connector, domain, driver):
    assert answer(connector, driver, domain("orders.example.com"), db=DATABASE) == IAM_USER


def test_the_servers_to_ask_may_be_named(emulator, domain):
    domain("named.example.com")
    with iamsql.Connector(emulator_host=emulator.host, dns_servers=[emulator.ready["dns"]]) as connector:
        assert answer(connector, "pg8000", "named.example.com", db=DATABASE) == IAM_USER
    with (
        iamsql.Connector(emulator_host=emulator.host, dns_servers=["127.0.0.1:9"], timeout=3) as connector,
        pytest.raises((iamsql.DnsError, iamsql.TimeoutError_)),
    ):
        answer(connector, "pg8000", "named.example.com", db=DATABASE)


def test_a_project_that_is_not_listed_is_refused(emulator, domain):
    domain("elsewhere.example.com")
    with iamsql.Connector(emulator_host=emulator.host, domain_projects=["another-project"]) as connector:
        with pytest.raises(iamsql.Error) as refused:
            answer(connector, "pg8000", "elsewhere.example.com", db=DATABASE)
        assert refused.value.code in ("IAMSQL_DNS", "IAMSQL_CONFIG")


def test_nameservers_of_an_official_resolver_are_asked(emulator, domain, monkeypatch):
    pytest.importorskip("dns")
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    domain("official.example.com")
    host, port = emulator.ready["dns"].split(":")

    class Ours(compat.DnsResolver):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.nameservers, self.port = [host], int(port)

    for resolver in (Ours, compat.DnsResolver):
        with compat.Connector(resolver=resolver, enable_iam_auth=True) as connector:
            connector.connect("official.example.com", "pg8000", user=IAM_USER, db=DATABASE).close()


def test_an_official_resolver_of_ones_own_asks_by_itself(emulator, domain, monkeypatch):
    """`resolve` runs with dnspython, for a class that changed it."""
    pytest.importorskip("dns")
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    domain("asked.example.com")
    host, port = emulator.ready["dns"].split(":")
    seen = []

    class Logged(compat.DnsResolver):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.nameservers, self.port = [host], int(port)

        async def resolve(self, dns):
            found = await super().resolve(dns)
            seen.append(str(found))
            return found

    async def main():
        async with compat.Connector(resolver=Logged, enable_iam_auth=True) as connector:
            connection = await connector.connect_async("asked.example.com", "asyncpg", user=IAM_USER, db=DATABASE)
            await connection.close()

    asyncio.run(main())
    assert seen == [f"asked.example.com -> {INSTANCE}"]


def test_the_default_official_resolver_takes_no_domain(emulator, monkeypatch):
    monkeypatch.setenv("IAMSQL_EMULATOR_HOST", emulator.host)
    with compat.Connector() as connector, pytest.raises(ValueError, match="must have format: PROJECT:REGION:INSTANCE"):
        connector.connect("orders.example.com", "pg8000", user=IAM_USER, db=DATABASE)
