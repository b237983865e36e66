"""The official `Connector` of AlloyDB, for blocking drivers, over this engine's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .enums import IPTypes, RefreshStrategy
from .session import Session

if TYPE_CHECKING:
    import io
    import ssl
    from types import TracebackType

    from google.auth.credentials import Credentials


class Connector:
    """Connects pg8000 and psycopg to AlloyDB instances: the official arguments and defaults.

    Args:
        credentials: a google-auth credentials object. Default: Application Default Credentials.
        db_credentials: those that log in to the database, if others than `credentials`.
        quota_project: the project that API calls are billed to.
        alloydb_api_endpoint: another AlloyDB API.
        enable_iam_auth: whether the login is the IAM principal's. Default False.
        ip_type: which address to dial. Default `IPTypes.PRIVATE`.
        user_agent: text to add to the user agent.
        refresh_strategy: when certificates are renewed. Default `RefreshStrategy.BACKGROUND`.
        static_conn_info: a file of connection info in JSON, for development.
        universe_domain: Default `googleapis.com`.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        db_credentials: Credentials | None = None,
        quota_project: str | None = None,
        alloydb_api_endpoint: str = "alloydb.googleapis.com",
        enable_iam_auth: bool = False,
        ip_type: str | IPTypes = IPTypes.PRIVATE,
        user_agent: str | None = None,
        refresh_strategy: str | RefreshStrategy = RefreshStrategy.BACKGROUND,
        static_conn_info: io.TextIOBase | None = None,
        universe_domain: str | None = None,
    ) -> None:
        self._session = Session(
            credentials,
            db_credentials,
            quota_project,
            alloydb_api_endpoint,
            enable_iam_auth,
            ip_type,
            user_agent,
            refresh_strategy,
            universe_domain,
            static_conn_info,
        )

    @property
    def universe_domain(self) -> str:
        """The universe whose APIs are called."""
        return self._session.universe_domain

    def connect(self, instance_uri: str, driver: str, **kwargs: Any) -> Any:
        """A connection of `"pg8000"` or `"psycopg"`.

        Takes the driver's arguments, `user`, `password`, `db`, and for this connect alone `enable_iam_auth` and
        `ip_type`.
        """
        self._session.refuse_if_closed()
        return self._session.connect(instance_uri, driver, kwargs)

    async def connect_async(self, instance_uri: str, driver: str, **kwargs: Any) -> Any:
        """The same on a thread of the running loop's executor."""
        self._session.refuse_if_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: self._session.connect(instance_uri, driver, kwargs))

    def metadata_exchange(
        self,
        instance_uri: str,
        ip_address: str,
        ctx: ssl.SSLContext,
        enable_iam_auth: bool,
    ) -> ssl.SSLSocket:
        """Not here: the engine exchanges metadata itself, once it knows who the server is.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("the engine exchanges metadata itself; connect() does all of it")

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuses new connections from now on. Open ones live on."""
        self._session.close()

    async def close_async(self) -> None:
        """The same; it does not wait for anything."""
        self._session.close()
