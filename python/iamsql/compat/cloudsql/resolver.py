"""Resolvers: the engine's own for the official classes as they are, called back where a subclass changed something."""

from __future__ import annotations

import re
from typing import Any

from .connection_name import (
    ConnectionName,
    _is_valid_domain,
    _parse_connection_name,
    _parse_connection_name_with_domain_name,
)
from .exceptions import DnsLoopError, DnsResolutionError

try:
    from dns.asyncresolver import Resolver as _Resolver
except ImportError:

    class _Resolver:  # type: ignore[no-redef]
        """Stands in where dnspython is not installed: the engine resolves all the same."""

        nameservers: list[Any] | None = None
        port = 53

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        async def resolve(self, *args: Any, **kwargs: Any) -> Any:
            raise ImportError("a resolver with methods of its own needs dnspython: pip install dnspython")


INSTANCE_DNS_NAME_PATTERN = re.compile(
    r"^([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])\.([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])"
    r"\.([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])\.(sql|sql-psa|sql-psc)\.goog\.?$"
)
GLOBAL_INSTANCE_DNS_PATTERN = re.compile(r"\.global\.sql(-\w+)?\.goog\.?$")


def is_instance_dns_name(name: str) -> bool:
    """Whether `name` is one that Cloud SQL itself gives an instance in one region."""
    lower = name.lower()
    return bool(INSTANCE_DNS_NAME_PATTERN.search(lower) and not GLOBAL_INSTANCE_DNS_PATTERN.search(lower))


class DefaultResolver:
    """Takes instance connection names only."""

    def __init__(self, *args: Any, client: Any | None = None, **kwargs: Any) -> None:
        pass

    async def resolve(self, connection_name: str) -> ConnectionName:
        """The parts of `connection_name`."""
        return _parse_connection_name(connection_name)


class DnsResolver(_Resolver):
    """Takes domain names too, whose TXT or CNAME records lead to an instance.

    As it is, it stands for the engine's resolver; `nameservers` and `port` that a subclass sets become the engine's.
    A subclass with a `resolve`, `resolve_txt`, `resolve_cname` or `resolve_a_record` of its own is asked instead.
    """

    def __init__(self, *args: Any, client: Any | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = client

    async def resolve(self, dns: str) -> ConnectionName:
        """The instance that `dns` leads to, over at most ten aliases.

        Raises:
            DnsResolutionError: to none.
            DnsLoopError: in a circle.
        """
        current, seen = dns, {dns}
        for _ in range(10):
            try:
                return _parse_connection_name_with_domain_name(current, "" if current == dns else dns)
            except ValueError:
                pass
            if is_instance_dns_name(current):
                return await self._ask_the_api(current, dns)
            if not _is_valid_domain(current):
                raise ValueError(
                    "Arg `instance_connection_string` must have format: PROJECT:REGION:INSTANCE or be a valid DNS "
                    f"domain name, got {dns}."
                )
            try:
                alias = await self.resolve_cname(current)
            except DnsResolutionError:
                return await self._from_txt(current, dns)
            if alias in seen:
                raise DnsLoopError(f"CNAME loop detected for `{dns}`")
            seen.add(alias)
            current = alias
        raise DnsLoopError(f"CNAME loop detected or max resolution depth reached for `{dns}`")

    async def resolve_cname(self, dns: str) -> str:
        """What `dns` is an alias of."""
        try:
            answers = await super().resolve(dns, "CNAME", raise_on_no_answer=True)
            return str(answers[0].target).rstrip(".")
        except Exception as error:
            raise DnsResolutionError(f"Unable to resolve CNAME record for `{dns}`") from error

    async def resolve_txt(self, dns: str) -> list[str]:
        """The TXT records of `dns`."""
        try:
            answers = await super().resolve(dns, "TXT", raise_on_no_answer=True)
            return [record.to_text().strip('"') for record in answers]
        except Exception as error:
            raise DnsResolutionError(f"Unable to resolve TXT record for `{dns}`") from error

    async def resolve_a_record(self, dns: str) -> list[str]:
        """The addresses of `dns`, none if there are none."""
        try:
            return [record.to_text() for record in await super().resolve(dns, "A", raise_on_no_answer=True)]
        except Exception:
            return []

    async def _from_txt(self, name: str, dns: str) -> ConnectionName:
        try:
            records = sorted(await self.resolve_txt(name))
        except DnsResolutionError as error:
            raise DnsResolutionError(f"Unable to resolve TXT record for `{dns}`") from error
        for record in records:
            try:
                return _parse_connection_name_with_domain_name(record, dns)
            except ValueError:
                continue
        if records:
            raise DnsResolutionError(f"Unable to parse TXT record for `{name}` -> `{records[0]}`")
        raise DnsResolutionError(f"Unable to resolve TXT record for `{name}`")

    async def _ask_the_api(self, name: str, dns: str) -> ConnectionName:
        if self._client is None:
            raise ValueError("SQLAdmin client is not configured in the resolver.")
        region = name.rstrip(".").split(".")[2]
        answer = await self._client.resolve_connect_settings(name.rstrip(".") + ".", region)
        return _parse_connection_name_with_domain_name(answer["connectionName"], dns)


_OVERRIDABLE = ("resolve", "resolve_cname", "resolve_txt", "resolve_a_record")


def is_changed(resolver: type) -> bool:
    """Whether a class has methods of its own that must be asked."""
    official = DnsResolver if issubclass(resolver, DnsResolver) else DefaultResolver
    return any(getattr(resolver, name, None) is not getattr(official, name, None) for name in _OVERRIDABLE)


def own_servers(resolver: Any) -> list[str] | None:
    """The DNS servers that a `DnsResolver` was told to ask, as `HOST:PORT`; `None` if it asks the system's."""
    servers = [str(server) for server in resolver.nameservers or ()]
    try:
        from dns.resolver import Resolver

        system = Resolver()
        unchanged = resolver.port == system.port and servers == [str(server) for server in system.nameservers]
    except Exception:  # no dnspython, or no configuration of the system's to compare with
        unchanged = not servers
    if unchanged:
        return None
    ports = getattr(resolver, "nameserver_ports", None) or {}
    return [_host_and_port(server, ports.get(server, resolver.port)) for server in servers]


def _host_and_port(server: str, port: int) -> str:
    return f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
