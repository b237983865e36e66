"""What the two official connectors of AlloyDB have in common: one engine, asked in their words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ... import connector as engine
from ...errors import Error
from .. import arguments
from .enums import IPTypes, RefreshStrategy
from .errors import closed, official

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

DEFAULT_ENDPOINT = "alloydb.googleapis.com"
_URI = re.compile("projects/([^:]+(:[^:]+)?)/locations/([^:]+)/clusters/([^:]+)/instances/([^:]+)")


class Session:
    """The engine's connector behind an official one."""

    def __init__(
        self,
        credentials: Credentials | None,
        db_credentials: Credentials | None,
        quota_project: str | None,
        alloydb_api_endpoint: str,
        enable_iam_auth: bool,
        ip_type: str | IPTypes,
        user_agent: str | None,
        refresh_strategy: str | RefreshStrategy,
        universe_domain: str | None,
        static_conn_info: Any = None,
    ) -> None:
        self._ip_type = _ip_type(ip_type)
        if isinstance(refresh_strategy, str):
            refresh_strategy = RefreshStrategy(refresh_strategy.upper())
        self.universe_domain = universe_domain or "googleapis.com"
        arguments.require_same_universe(credentials, self.universe_domain)
        self._enable_iam_auth = enable_iam_auth
        self._closed = False
        try:
            self._engine = engine.Connector(
                enable_iam_auth=enable_iam_auth,
                ip_type=self._ip_type.value,
                credentials=credentials or None,
                login_credentials=db_credentials or None,
                quota_project=quota_project or None,
                alloydb_api_endpoint=_endpoint(alloydb_api_endpoint),
                user_agent=user_agent or None,
                universe_domain=universe_domain or None,
                refresh_strategy=refresh_strategy.value,
                static_conn_info=static_conn_info,
            )
        except Error as error:
            raise official(error) from error.__cause__

    def connect(self, instance_uri: str, driver: str, kwargs: dict[str, Any]) -> Any:
        """A connection of a blocking driver."""
        given = self._arguments(instance_uri, driver, kwargs, ("pg8000", "psycopg"))
        try:
            return self._engine.connect(instance_uri, driver, **given)
        except Error as error:
            raise official(error, given["ip_type"]) from error.__cause__

    async def connect_async(self, instance_uri: str, driver: str, kwargs: dict[str, Any]) -> Any:
        """A connection of asyncpg."""
        given = self._arguments(instance_uri, driver, kwargs, ("asyncpg",))
        if not given["enable_iam_auth"]:
            arguments.require(given, "password")
        else:
            given.pop("password", None)
        try:
            return await self._engine.connect_async(instance_uri, driver, **given)
        except Error as error:
            raise official(error, given["ip_type"]) from error.__cause__

    def close(self) -> None:
        """Refuses new connections from now on. Open ones live on."""
        self._closed = True
        self._engine.close()

    def refuse_if_closed(self) -> None:
        """Raises what the official connectors raise once they are closed."""
        if self._closed:
            raise closed()

    def _arguments(
        self, instance_uri: str, driver: str, kwargs: dict[str, Any], drivers: tuple[str, ...]
    ) -> dict[str, Any]:
        given = dict(kwargs)
        given.setdefault("enable_iam_auth", self._enable_iam_auth)
        if _URI.fullmatch(instance_uri) is None:
            raise ValueError(
                "Arg `instance_uri` must have "
                "format: projects/<PROJECT>/locations/<REGION>/clusters/<CLUSTER>/instances/<INSTANCE>, "
                "projects/<DOMAIN>:<PROJECT>/locations/<REGION>/clusters/<CLUSTER>/instances/<INSTANCE>"
                f"got {instance_uri}."
            )
        if driver not in drivers:
            raise ValueError(f"Driver '{driver}' is not a supported database driver.")
        given["ip_type"] = _ip_type(given.get("ip_type", self._ip_type)).value
        arguments.require_driver(driver)
        arguments.require(given, "user")
        arguments.require(given, "db")
        if "database" in given:
            raise TypeError(f"{driver}.connect() got multiple values for keyword argument 'database'")
        return given


def _ip_type(given: str | IPTypes) -> IPTypes:
    return IPTypes(given.upper()) if isinstance(given, str) else given


def _endpoint(given: str) -> str | None:
    """A host, with or without a scheme, as a URL; `None` for the official default."""
    if given == DEFAULT_ENDPOINT:
        return None
    return given if "://" in given else f"https://{given}"
