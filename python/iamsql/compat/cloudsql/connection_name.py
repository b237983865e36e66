"""An instance connection name in its parts, as resolvers return it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONN_NAME_REGEX = re.compile("([^:]+(:[^:]+)?):([^:]+):([^:]+)")
DOMAIN_NAME_REGEX = re.compile(r"^(?:[_a-z0-9](?:[_a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)?$")


@dataclass
class ConnectionName:
    """`PROJECT:REGION:INSTANCE`, and the domain name that led there if one did."""

    project: str
    region: str
    instance_name: str
    domain_name: str = ""

    def __str__(self) -> str:
        name = self.get_connection_string()
        return f"{self.domain_name} -> {name}" if self.domain_name else name

    def get_connection_string(self) -> str:
        """`PROJECT:REGION:INSTANCE`."""
        return f"{self.project}:{self.region}:{self.instance_name}"


def _is_valid_domain(domain_name: str) -> bool:
    return DOMAIN_NAME_REGEX.fullmatch(domain_name) is not None


def _parse_connection_name(connection_name: str) -> ConnectionName:
    return _parse_connection_name_with_domain_name(connection_name, "")


def _parse_connection_name_with_domain_name(connection_name: str, domain_name: str) -> ConnectionName:
    parts = CONN_NAME_REGEX.fullmatch(connection_name)
    if parts is None:
        raise ValueError(
            f"Arg `instance_connection_string` must have format: PROJECT:REGION:INSTANCE, got {connection_name}."
        )
    return ConnectionName(parts[1], parts[3], parts[4], domain_name)
