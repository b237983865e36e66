"""The `Connector`: options in, connections of the driver asked for out.

Belongs to no thread, event loop or process. A connect is decided here (`login.py`) and done by the driver's own file in
`drivers/`.
"""

from __future__ import annotations

import os

from . import _native, hub
from .errors import ConfigError
from .login import Login, running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from types import TracebackType
    from typing import Any, Callable

    from .credentials import CredentialsLike
    from .listener import Listener


class IpType:
    """Which of an instance's addresses to dial."""

    PUBLIC = "PUBLIC"
    """The public address."""
    PRIVATE = "PRIVATE"
    """The private address, inside the VPC network."""
    PSC = "PSC"
    """The name of its Private Service Connect endpoint."""
    AUTO = "AUTO"
    """The public address if the instance has one, else the private."""
    SQL_DATA = "SQL_DATA"
    """None: a tunnel through Cloud SQL's API, where no network path leads to the instance (PostgreSQL). An instance
    whose edition has no such service is reached by its address."""


class RefreshStrategy:
    """When certificates are renewed."""

    AUTO = "AUTO"
    """Ahead of expiry while the instance is in use, asleep while it is not."""
    BACKGROUND = "BACKGROUND"
    """Ahead of expiry, always."""
    LAZY = "LAZY"
    """Only when a connect needs it: for machines that get no CPU between requests."""


class Connector:
    """Connects to Cloud SQL and AlloyDB instances as one Google identity.

    Make one per process and keep it. Any thread and any event loop may use it; a forked child may too. Making one reads
    credential files but uses no network.

    Args:
        ip_type: which address to dial, `"PUBLIC"`, `"PRIVATE"`, `"PSC"`, `"AUTO"` or `"SQL_DATA"` (see
            `IpType`). Default: `"PUBLIC"` for Cloud SQL, `"PRIVATE"` for AlloyDB.
        enable_iam_auth: True logs in as the IAM principal, False with a user and password. Default `None`: IAM for
            every connect that names neither user nor password.
        timeout: seconds that one connect may take, from the first lookup to a connection that has logged in.
            Default 30, at most 3600.
        credentials: a google-auth credentials object, a `iamsql.credentials.TokenSource`, or the path of a credentials
            file. Default `None`: Application Default Credentials.
        loop: accepted for compatibility. A connector belongs to no event loop.
        quota_project: the project that Admin API calls are billed to. Default: that of the credentials.
        sqladmin_api_endpoint: another Admin API, as in `"https://sqladmin.googleapis.com"`. It sees your API token.
        user_agent: text to add to the user agent.
        universe_domain: Default `GOOGLE_CLOUD_UNIVERSE_DOMAIN`, else `googleapis.com`.
        refresh_strategy: when certificates are renewed, `"AUTO"` (default), `"BACKGROUND"` or `"LAZY"`.
        resolver: accepted for compatibility. Domain names are resolved without being asked to.
        failover_period: seconds between looks at where a domain name leads; when it leads elsewhere, connections that
            were opened by that name are closed. Default 30; 0 never looks.
        credentials_json: credentials as JSON text.
        token: a ready access token for the Admin API.
        login_token: a ready token for the login, with `token`; it should have the scope `sqlservice.login` alone.
        login_credentials: who logs in to the database, if not who calls the API; what `credentials` may be.
        login_scope: what a login token may do, `"NARROW"` (default: nothing but log in, unless the credentials can only
            give more) or `"STRICT"` (never more).
        alloydb_api_endpoint: another AlloyDB API, as in `"https://alloydb.googleapis.com"`. It sees your API token.
        sql_data_endpoint: another SqlData service for `"SQL_DATA"`, as a URL. It sees your API token and all that the
            driver says.
        dns_servers: whom to ask about domain names, as in `["10.0.0.2:53"]`. Default: the system's.
        domain_projects: the projects that a domain name may lead to. Default: the one that it leads to first.
        gcloud: True takes the credentials of whoever `gcloud` is logged in as.
        impersonate: the service account to become: its e-mail address, or a list of delegates that ends in it.
        static_conn_info: a file of AlloyDB connection info in JSON, for development: nothing is asked of the API, and
            nothing renewed.
        emulator_host: `HOST:PORT` of an `iamsql-emulator`. Default `IAMSQL_EMULATOR_HOST`.

    Raises:
        ConfigError: an option cannot mean anything.
        CredentialsError: there are no usable credentials.
    """

    def __init__(
        self,
        ip_type: Any = None,
        enable_iam_auth: bool | None = None,
        timeout: float = 30,
        credentials: CredentialsLike | None = None,
        loop: Any = None,
        quota_project: str | None = None,
        sqladmin_api_endpoint: str | None = None,
        user_agent: str | None = None,
        universe_domain: str | None = None,
        refresh_strategy: Any = "AUTO",
        resolver: Any = None,
        failover_period: float = 30,
        *,
        credentials_json: str | None = None,
        token: str | None = None,
        login_token: str | None = None,
        login_credentials: CredentialsLike | None = None,
        login_scope: Any = None,
        alloydb_api_endpoint: str | None = None,
        sql_data_endpoint: str | None = None,
        dns_servers: Sequence[str] | None = None,
        domain_projects: Sequence[str] | None = None,
        gcloud: bool = False,
        impersonate: str | Sequence[str] | None = None,
        static_conn_info: Any = None,
        emulator_host: str | None = None,
    ) -> None:
        self._universe_domain = universe_domain
        self._ip_type = None if ip_type is None else _word("ip_type", ip_type)
        self._enable_iam_auth = _flag("enable_iam_auth", enable_iam_auth)
        self._timeout = _seconds("timeout", timeout)
        self._listeners: dict[tuple[str, str, str | None, bool, float], _native.Listener] = {}
        self._native = _native.Connector(
            ip_type=self._ip_type,
            iam=self._enable_iam_auth,
            timeout=self._timeout,
            credentials=_impersonated(
                _credentials(credentials, credentials_json, token, login_token, universe_domain, gcloud), impersonate
            ),
            login_credentials=_adopt(login_credentials, universe_domain),
            login_scope=None if login_scope is None else _word("login_scope", login_scope),
            quota_project=quota_project or getattr(credentials, "quota_project_id", None),
            admin_endpoint=sqladmin_api_endpoint,
            alloydb_endpoint=alloydb_api_endpoint,
            sql_data_endpoint=sql_data_endpoint,
            user_agent=_user_agent(user_agent),
            universe_domain=universe_domain,
            refresh_strategy=_word("refresh_strategy", refresh_strategy),
            dns_servers=None if dns_servers is None else list(dns_servers),
            domain_projects=None if domain_projects is None else list(domain_projects),
            failover_period=_seconds("failover_period", failover_period),
            static_connection_info=None if static_conn_info is None else static_conn_info.read(),
            emulator_host=emulator_host,
        )

    @property
    def universe_domain(self) -> str:
        """The universe whose APIs are called."""
        return self._universe_domain or os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN") or "googleapis.com"

    def connect(self, instance_connection_string: str, driver: str, **kwargs: Any) -> Any:
        """A connection of `driver` to an instance, logged in.

        Args:
            instance_connection_string: `"PROJECT:REGION:INSTANCE"`, an AlloyDB instance as
                `"projects/P/locations/R/clusters/C/instances/I"`, or a domain name.
            driver: `"pg8000"`, `"psycopg"`, `"psycopg2"`; `"pymysql"`, `"mysqlclient"`; `"pytds"`.
            **kwargs: `user` (default with IAM: the database user of the credentials; a service account's full address
                is corrected), `password`, `db` (or `database`, `dbname`), and for this connect alone `enable_iam_auth`,
                `ip_type`, `timeout`. Everything else goes to the driver, except what says where to connect (`host`,
                `port`, `ssl`), which is dropped.

        Raises:
            Error: what kind says its class. A login that the database refuses is a `LoginError`; other errors of the
                driver pass unchanged.
        """
        login = self._login(instance_connection_string, driver, kwargs)
        return login.connect()

    async def connect_async(self, instance_connection_string: str, driver: str, **kwargs: Any) -> Any:
        """The same on an event loop: `"asyncpg"`, `"aiomysql"`, `"asyncmy"`, and `"psycopg"` as an `AsyncConnection`.

        The blocking drivers are accepted too and connect on a thread of the loop's executor.
        """
        login = self._login(instance_connection_string, driver, kwargs)
        return await login.connect_async()

    def creator(self, instance_connection_string: str, driver: str, **kwargs: Any) -> Callable[[], Any]:
        """A function that connects, for `sqlalchemy.create_engine(..., creator=...)` and other pools.

        Takes what `connect` takes, and refuses at once what can be seen to be wrong without connecting.
        """
        self._login(instance_connection_string, driver, kwargs).require_blocking()

        def create() -> Any:
            return self.connect(instance_connection_string, driver, **kwargs)

        return create

    def async_creator(
        self, instance_connection_string: str, driver: str, **kwargs: Any
    ) -> Callable[..., Awaitable[Any]]:
        """The same for `sqlalchemy.ext.asyncio.create_async_engine(..., async_creator=...)` and
        `asyncpg.create_pool(connect=...)`.

        What the pool passes by name is added to `kwargs`.
        """
        self._login(instance_connection_string, driver, kwargs)

        async def create(dsn: str | None = None, **more: Any) -> Any:
            if dsn not in (None, instance_connection_string):
                raise ConfigError("a creator knows its instance: give the pool no DSN")
            return await self.connect_async(instance_connection_string, driver, **{**kwargs, **more})

        return create

    def listen(
        self,
        instance_connection_string: str,
        *,
        enable_iam_auth: bool | None = None,
        ip_type: Any = None,
        timeout: float | None = None,
        engine: str | None = None,
    ) -> Listener:
        """A private Unix socket that leads to an instance, for whatever takes a host or a path and no function of ours:
        settings, URLs, programs.

        Any process of this user may connect to it, and does so as the IAM principal unless `enable_iam_auth` is False;
        workers that are forked later may too, as long as this process lives. With `engine`, `"POSTGRES"` or `"MYSQL"`,
        an instance of another is refused, and what went wrong is said in that engine's protocol.

        Raises:
            ConfigError: the name or an option cannot mean anything, or there is no directory fit for it.
        """
        from .listener import Listener

        given = _flag("enable_iam_auth", enable_iam_auth)
        iam = self._enable_iam_auth if given is None else given
        native = self._native.listen(
            instance_connection_string,
            iam=iam is not False,
            ip_type=self._ip_type if ip_type is None else _word("ip_type", ip_type),
            timeout=self._timeout if timeout is None else _seconds("timeout", timeout),
            engine=None if engine is None else _word("engine", engine),
            same_process=False,
        )
        return Listener(native)

    def database_version(self, instance_connection_string: str) -> str:
        """What the instance runs, as the API spells it: `"POSTGRES_16"`, `"MYSQL_8_0"`."""
        version: str = hub.wait_for(self._native.database_version, instance_connection_string)
        return version

    def user(self, instance_connection_string: str, given: str | None = None) -> str:
        """The database user that these credentials log in as, spelled as the instance's engine wants it; or `given`, a
        full e-mail address perhaps, spelled so."""
        user: str = hub.wait_for(self._native.user_for, instance_connection_string, given)
        return user

    async def user_async(self, instance_connection_string: str, given: str | None = None) -> str:
        """The same on an event loop."""
        user: str = await self._native.user_for_async(running_loop(), instance_connection_string, given)
        return user

    def close(self) -> None:
        """Refuses new connections from now on. Open ones live on. May be called twice, and from any thread."""
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.close()
        self._native.close()

    async def close_async(self) -> None:
        """The same; it does not wait for anything."""
        self.close()

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Connector:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<iamsql.Connector ip_type={self._ip_type} enable_iam_auth={self._enable_iam_auth}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Connector holds credentials and cannot be pickled: make one in each process")

    def _login(self, instance: str, driver: str, arguments: dict[str, Any]) -> Login:
        arguments = dict(arguments)
        given = _flag("enable_iam_auth", arguments.pop("enable_iam_auth", None))
        ip_type = arguments.pop("ip_type", None)
        timeout = arguments.pop("timeout", None)
        return Login(
            self,
            instance,
            driver,
            arguments,
            iam=self._enable_iam_auth if given is None else given,
            ip_type=self._ip_type if ip_type is None else _word("ip_type", ip_type),
            timeout=self._timeout if timeout is None else _seconds("timeout", timeout),
        )

    def _listener(self, login: Login) -> _native.Listener:
        """The one listener for this instance, address type, kind of login and timeout; a child makes its own."""
        engine: str = login.driver.ENGINE
        key = (login.instance, engine, login.ip_type, login.iam, login.timeout)
        known = self._listeners.get(key)
        if known is not None and known.is_current():
            return known
        opened = self._native.listen(
            login.instance, iam=login.iam, ip_type=login.ip_type, timeout=login.timeout, engine=engine
        )
        if known is not None:
            self._listeners.pop(key, None)
        # Two threads may have opened one each: the first stays.
        kept = self._listeners.setdefault(key, opened)
        if kept is not opened:
            opened.close()
        return kept


def _credentials(
    given: CredentialsLike | None,
    json: str | None,
    token: str | None,
    login_token: str | None,
    universe_domain: str | None,
    gcloud: bool,
) -> _native.Credentials | None:
    if login_token is not None and token is None:
        raise ConfigError("login_token comes with token, the one for the Admin API")
    named = [
        name
        for name, value in (
            ("credentials", given),
            ("credentials_json", json),
            ("token", token),
            ("gcloud", gcloud or None),
        )
        if value is not None
    ]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} exclude each other")
    if json is not None:
        return _native.Credentials.json(json)
    if token is not None:
        return _native.Credentials.tokens(token, login_token)
    if gcloud:
        return _native.Credentials.gcloud()
    return _adopt(given, universe_domain)


def _impersonated(base: _native.Credentials | None, chain: str | Sequence[str] | None) -> _native.Credentials | None:
    if not chain:
        return base
    *delegates, target = [chain] if isinstance(chain, str) else chain
    return _native.Credentials.impersonate(base or _native.Credentials.default(), target, delegates)


def _adopt(given: CredentialsLike | None, universe_domain: str | None) -> _native.Credentials | None:
    if given is None:
        return None
    from .credentials import adopt

    return adopt(given, universe_domain)


def _word(option: str, value: Any) -> str:
    """The option's text; the official enums carry it as their value."""
    word = getattr(value, "value", value)
    if isinstance(word, str):
        return word.upper()
    raise ConfigError(f"{option} is a text, not {type(value).__name__}")


def _flag(option: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ConfigError(f"{option} is True, False or None, not {type(value).__name__}")


def _seconds(option: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ConfigError(f"{option} is a number of seconds, not {type(value).__name__}")


def _user_agent(given: str | None) -> str:
    ours = f"iamsql-python/{_native.__version__}"
    return f"{ours} {given}" if given else ours
