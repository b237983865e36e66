"""The official `AsyncConnector` of AlloyDB, for asyncpg, over this engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .enums import IPTypes, RefreshStrategy
from .session import Session

if TYPE_CHECKING:
    from types import TracebackType

    from google.auth.credentials import Credentials


class AsyncConnector:
    """Connects asyncpg to AlloyDB instances, from any event loop: the official arguments and defaults.

    They are those of `Connector`, without `static_conn_info`.
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
        )

    @property
    def universe_domain(self) -> str:
        """The universe whose APIs are called."""
        return self._session.universe_domain

    async def connect(self, instance_uri: str, driver: str, **kwargs: Any) -> Any:
        """A connection of `"asyncpg"`.

        Takes the driver's arguments, `user`, `db`, `password` unless the login is IAM's, and for this connect alone
        `enable_iam_auth` and `ip_type`.
        """
        self._session.refuse_if_closed()
        return await self._session.connect_async(instance_uri, driver, kwargs)

    async def __aenter__(self) -> AsyncConnector:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuses new connections from now on. Open ones live on."""
        self._session.close()
