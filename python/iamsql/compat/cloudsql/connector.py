"""The official `Connector`, over this engine's.

In: the official arguments.  Out: connections of the official drivers, and the official exceptions (`errors.py`).
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Coroutine
from threading import Thread
from typing import TYPE_CHECKING, Any

from ... import connector as engine
from ...errors import Error
from .. import arguments
from .connection_name import _parse_connection_name
from .enums import DriverMapping, IPTypes, RefreshStrategy
from .errors import closed, official
from .exceptions import IncompatibleDriverError, PlatformNotSupportedError
from .resolver import DefaultResolver, DnsResolver, is_changed, own_servers

if TYPE_CHECKING:
    from types import TracebackType

    from google.auth.credentials import Credentials


_DRIVERS = ("pymysql", "pg8000", "asyncpg", "pytds", "psycopg")


class Connector:
    """Connects to Cloud SQL instances: the official arguments and defaults.

    Args:
        ip_type: which address to dial. Default `IPTypes.PUBLIC`.
        enable_iam_auth: whether the login is the IAM principal's. Default False.
        timeout: seconds that one connect may take. Default 30. It does not stay on the connection.
        credentials: a google-auth credentials object. Default: Application Default Credentials.
        loop: the loop that `connect` runs asyncpg on. `connect_async` works on any.
        quota_project: the project that API calls are billed to.
        sqladmin_api_endpoint: another Admin API.
        user_agent: text to add to the user agent.
        universe_domain: Default `GOOGLE_CLOUD_UNIVERSE_DOMAIN`, else `googleapis.com`.
        refresh_strategy: when certificates are renewed. Default `RefreshStrategy.BACKGROUND`.
        resolver: the class that resolves names. Default `DefaultResolver`, which takes connection names only.
        failover_period: seconds between looks at where a domain name leads. Default 30.
        sql_data_endpoint: another SQL Data Service, as `HOST`, `HOST:PORT` or URL. Default: where the Admin API is.
        sql_data_stream_timeout: accepted; the engine sets its own limit.
        resource_exhausted_cooldown_period: accepted; the engine has its own back-off.
    """

    def __init__(
        self,
        ip_type: str | IPTypes = IPTypes.PUBLIC,
        enable_iam_auth: bool = False,
        timeout: int = 30,
        credentials: Credentials | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        quota_project: str | None = None,
        sqladmin_api_endpoint: str | None = None,
        user_agent: str | None = None,
        universe_domain: str | None = None,
        refresh_strategy: str | RefreshStrategy = RefreshStrategy.BACKGROUND,
        resolver: type[DefaultResolver | DnsResolver] = DefaultResolver,
        failover_period: int = 30,
        sql_data_endpoint: str | None = None,
        sql_data_stream_timeout: int = 7200,
        resource_exhausted_cooldown_period: float = 5.0,
    ) -> None:
        if isinstance(refresh_strategy, str):
            refresh_strategy = RefreshStrategy._from_str(refresh_strategy)
        if credentials:
            arguments.require_google_auth(credentials)
        if isinstance(ip_type, str):
            ip_type = IPTypes._from_str(ip_type)
        arguments.require_same_universe(credentials, universe_domain)
        self._enable_iam_auth = enable_iam_auth
        self._ip_type = ip_type
        self._loop = loop
        self._closed = False
        self._resolver = _Resolution(resolver)
        try:
            self._connector = engine.Connector(
                ip_type=ip_type.value,
                enable_iam_auth=enable_iam_auth,
                timeout=timeout,
                credentials=credentials or None,
                quota_project=quota_project or None,
                sqladmin_api_endpoint=sqladmin_api_endpoint or None,
                sql_data_endpoint=_url(sql_data_endpoint or sqladmin_api_endpoint),
                user_agent=user_agent or None,
                universe_domain=universe_domain or None,
                refresh_strategy=refresh_strategy.value,
                failover_period=failover_period,
                dns_servers=self._resolver.servers,
            )
        except Error as error:
            raise official(error) from error.__cause__

    @property
    def universe_domain(self) -> str:
        """The universe whose APIs are called."""
        return self._connector.universe_domain

    def connect(self, instance_connection_string: str, driver: str, **kwargs: Any) -> Any:
        """A connection of `driver`: `"pg8000"`, `"psycopg"`, `"pymysql"`, `"pytds"`, or `"asyncpg"` on its own loop.

        Takes the driver's arguments, `user`, `password`, `db` or `database`, and for this connect alone
        `enable_iam_auth`, `ip_type` and `timeout`.
        """
        self._refuse_if_closed()
        if driver == "asyncpg":
            return self._on_loop(self.connect_async(instance_connection_string, driver, **kwargs))
        given = self._arguments(instance_connection_string, driver, kwargs)
        instance = self._resolver.resolve(instance_connection_string)
        try:
            return self._connector.connect(instance, driver, **given)
        except Error as error:
            raise self._official(error, instance, driver, given) from error.__cause__

    async def connect_async(self, instance_connection_string: str, driver: str, **kwargs: Any) -> Any:
        """The same on an event loop, whichever is running; blocking drivers connect on a thread of its executor."""
        self._refuse_if_closed()
        given = self._arguments(instance_connection_string, driver, kwargs)
        instance = await self._resolver.resolve_async(instance_connection_string)
        try:
            if driver == "asyncpg":
                return await self._connector.connect_async(instance, driver, **given)
            return await asyncio.get_running_loop().run_in_executor(
                None, lambda: self._connector.connect(instance, driver, **given)
            )
        except Error as error:
            raise self._official(error, instance, driver, given) from error.__cause__

    def close(self) -> None:
        """Refuses new connections from now on. Open ones live on."""
        self._closed = True
        self._connector.close()

    async def close_async(self) -> None:
        """The same; it does not wait for anything."""
        self.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close_async()

    def _arguments(self, instance: str, driver: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The engine's arguments, refused as the official connector refuses them."""
        given = dict(kwargs)
        given.setdefault("enable_iam_auth", self._enable_iam_auth)
        ip_type = given.get("ip_type", self._ip_type)
        given["ip_type"] = (IPTypes._from_str(ip_type) if isinstance(ip_type, str) else ip_type).value
        if not self._resolver.takes_domains:
            _parse_connection_name(instance)
        if driver not in _DRIVERS:
            raise KeyError(f"Driver '{driver}' is not supported.")
        arguments.require_driver(driver)
        if driver == "asyncpg" and given["ip_type"] == IPTypes.SQL_DATA.value:
            raise IncompatibleDriverError(f"Driver '{driver}' is not supported with ip_type '{IPTypes.SQL_DATA}'.")
        if driver == "pytds" and given.pop("active_directory_auth", False):
            raise PlatformNotSupportedError(
                "Active Directory authentication is currently only supported on Windows."
                if platform.system() != "Windows"
                else "Active Directory authentication is not supported: the engine logs in with user and password."
            )
        if driver == "psycopg":
            database = given.pop("db")
        else:
            database = given.pop("database", given.pop("db", None))
            given.pop("db", None)
        if database is None and driver in ("pg8000", "asyncpg"):
            raise KeyError("database")
        if driver != "pymysql" or given["enable_iam_auth"]:
            arguments.require(given, "user")
        elif given.get("user") is None:
            given["user"] = arguments.own_name()
        if driver == "pytds":
            arguments.require(given, "password")
        if database is not None:
            given["db"] = database
        return given

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise closed()

    def _official(self, error: Error, instance: str, driver: str, given: dict[str, Any]) -> BaseException:
        version = None
        try:
            version = self._connector.database_version(instance)
        except Error:
            pass
        if version is not None and driver.upper() in DriverMapping.__members__:
            try:
                DriverMapping.validate_engine(driver, version)
            except IncompatibleDriverError as mismatch:
                return mismatch
        return official(error, version=version, iam=given["enable_iam_auth"], ip_type=given["ip_type"])

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs `coroutine` on the loop given, else on one of a thread of our own, while this thread waits."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            Thread(target=self._loop.run_forever, name="iamsql-asyncio", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def create_async_connector(
    ip_type: str | IPTypes = IPTypes.PUBLIC,
    enable_iam_auth: bool = False,
    timeout: int = 30,
    credentials: Credentials | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    quota_project: str | None = None,
    sqladmin_api_endpoint: str | None = None,
    user_agent: str | None = None,
    universe_domain: str | None = None,
    refresh_strategy: str | RefreshStrategy = RefreshStrategy.BACKGROUND,
    resolver: type[DefaultResolver | DnsResolver] = DefaultResolver,
    failover_period: int = 30,
    sql_data_endpoint: str | None = None,
    sql_data_stream_timeout: int = 7200,
    resource_exhausted_cooldown_period: float = 5.0,
) -> Connector:
    """A `Connector` for the running event loop; it takes the same arguments."""
    return Connector(
        ip_type=ip_type,
        enable_iam_auth=enable_iam_auth,
        timeout=timeout,
        credentials=credentials,
        loop=loop if loop is not None else asyncio.get_running_loop(),
        quota_project=quota_project,
        sqladmin_api_endpoint=sqladmin_api_endpoint,
        user_agent=user_agent,
        universe_domain=universe_domain,
        refresh_strategy=refresh_strategy,
        resolver=resolver,
        failover_period=failover_period,
        sql_data_endpoint=sql_data_endpoint,
        sql_data_stream_timeout=sql_data_stream_timeout,
        resource_exhausted_cooldown_period=resource_exhausted_cooldown_period,
    )


def _url(endpoint: str | None) -> str | None:
    """The official connector takes gRPC's form, without a scheme."""
    if not endpoint:
        return None
    return endpoint if "://" in endpoint else f"https://{endpoint}"


class _Resolution:
    """A resolver class as the engine uses it: by itself, or by calling back."""

    def __init__(self, resolver: type[Any]) -> None:
        self.takes_domains = not issubclass(resolver, DefaultResolver)
        self.servers: list[str] | None = None
        self._called_back: Any = None
        if resolver in (DefaultResolver, DnsResolver):
            return
        made = resolver(client=None)
        if is_changed(resolver):
            self.takes_domains = True
            self._called_back = made
        elif isinstance(made, DnsResolver):
            self.servers = own_servers(made)

    def resolve(self, name: str) -> str:
        if self._called_back is None:
            return name
        found: list[str] = []
        # A thread of its own: on this one a loop may be running.
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                found.append(asyncio.run(self.resolve_async(name)))
            except BaseException as error:
                failed.append(error)

        asking = Thread(target=ask, name="iamsql-resolve")
        asking.start()
        asking.join()
        if failed:
            raise failed[0]
        return found[0]

    async def resolve_async(self, name: str) -> str:
        if self._called_back is None:
            return name
        resolved = await self._called_back.resolve(name)
        answer: str = resolved.get_connection_string()
        return answer
