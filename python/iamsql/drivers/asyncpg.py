"""asyncpg on the asyncio transport; on a loop that cannot watch descriptors, on the private listener."""

from __future__ import annotations

import asyncio
import os

import asyncpg

from .transport import EngineTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any, Callable

    from .. import _native
    from ..login import Login

NAME = "asyncpg"
ENGINE = "POSTGRES"


async def connect_async(login: Login, loop: AbstractEventLoop) -> asyncpg.Connection[Any]:
    """An `asyncpg.Connection` of `loop`, logged in."""
    if not _watches_descriptors(loop):
        listener, user = await login.park_async(loop)
        return await _connected(login, loop, loop, os.fspath(listener.directory()), user)
    transport, user = await login.dial_async(loop)
    detour = Detour(loop, login, transport)
    try:
        connection = await _connected(login, loop, detour, _ANY_DIRECTORY, user)
    except BaseException:
        detour.give_up()
        raise
    detour.first = None
    return connection


class Detour:
    """An event loop whose connections lead to the instance. In all else it is the loop that it stands for."""

    def __init__(self, loop: AbstractEventLoop, login: Login, ready: _native.Transport) -> None:
        self._loop = loop
        self._login = login
        self._ready: _native.Transport | None = ready
        self.first: EngineTransport | None = None
        self.broken: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._loop, name)
        setattr(self, name, value)  # asyncpg asks for a few of these with every query.
        return value

    async def create_unix_connection(
        self, protocol_factory: Callable[[], asyncio.Protocol], path: Any = None, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """The connection that was dialled for the login, then a new one each time: asyncpg cancels over those."""
        native, self._ready = self._ready, None
        if native is None:
            native, _user = await self._login.dial_async(self._loop, self._login.timeout)
        protocol = protocol_factory()
        transport = EngineTransport(self._loop, native, protocol, self._note)
        self.first = self.first or transport
        return transport, protocol

    create_connection = create_unix_connection

    def give_up(self) -> None:
        """Ends the connection of a login that failed, whoever has it by now."""
        if self._ready is not None:
            self._ready.close()
        if self.first is not None:
            self.first.abort()

    def _note(self, error: BaseException) -> None:
        self.broken = self.broken or error


async def _connected(login: Login, loop: AbstractEventLoop, detour: Any, directory: str, user: str) -> Any:
    extra = dict(login.extra)
    extra.pop("loop", None)
    extra.setdefault("timeout", login.remaining())
    try:
        return await asyncpg.connect(
            loop=detour,
            host=directory,
            port=5432,
            user=user,
            password=login.password,
            database=login.database,
            **extra,
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError) as error:
        raise await login.refused_async(loop, str(error), user) from error
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise login.overdue() from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        broken = getattr(detour, "broken", None)
        if broken is not None:
            raise broken from error
        raise


def _watches_descriptors(loop: AbstractEventLoop) -> bool:
    """Windows' default loop does not; neither does a loop whose author left it out."""
    try:
        loop.remove_reader(_NO_DESCRIPTOR)
    except NotImplementedError:
        return False
    except (ValueError, OSError):
        pass
    return True


_ANY_DIRECTORY = "/iamsql"
_NO_DESCRIPTOR = 2**30
