"""One connect, decided: which driver, as whom, over which face, and what a refusal means.

In: the arguments of `Connector.connect`.  Out: for the drivers' files, a connected face and a user; for the caller, a
connection or a typed error.
"""

from __future__ import annotations

import time

from . import _native, drivers, hub
from .errors import ConfigError, Error, LoginError, TimeoutError_, TlsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any

    from .connector import Connector


class Login:
    """What a driver's file gets to work with."""

    def __init__(
        self,
        connector: Connector,
        instance: str,
        driver: str,
        arguments: dict[str, Any],
        *,
        iam: bool | None,
        ip_type: str | None,
        timeout: float,
    ) -> None:
        if not isinstance(instance, str):
            raise ConfigError(f"the instance is a text like PROJECT:REGION:INSTANCE, not {type(instance).__name__}")
        self.driver = drivers.find(driver)
        self.instance = instance
        self.ip_type = ip_type
        self.timeout = timeout
        self.asked = arguments.pop("user", None)
        self.password = arguments.pop("password", None)
        self.database = _one_of(arguments, "db", "database", "dbname")
        for replaced in ("host", "port", "ssl"):
            arguments.pop(replaced, None)
        self.extra = arguments
        """What the driver gets as it was given."""
        self.iam = (self.asked is None and self.password is None) if iam is None else iam
        self._connector = connector
        self._deadline = time.monotonic() + timeout
        if not self.iam and self.asked is None:
            raise ConfigError("a password login needs user=; for IAM pass enable_iam_auth=True")

    def require_blocking(self) -> None:
        """Refuses a driver that only works on an event loop."""
        if not hasattr(self.driver, "connect"):
            raise ConfigError(f"{self.driver.NAME} is asynchronous: use connect_async or async_creator")

    def connect(self) -> Any:
        """The driver's connection, on this thread."""
        self.require_blocking()
        try:
            return self.driver.connect(self)
        except TlsError as refused:
            # Under TLS 1.3 a refused certificate shows after the handshake. The engine has dropped it: once more, anew.
            if not refused.retryable:
                raise
        return self.driver.connect(self)

    async def connect_async(self) -> Any:
        """The driver's connection, on the running event loop."""
        loop = running_loop()
        if not hasattr(self.driver, "connect_async"):
            return await loop.run_in_executor(None, self.connect)
        try:
            return await self.driver.connect_async(self, loop)
        except TlsError as refused:
            if not refused.retryable:
                raise
        return await self.driver.connect_async(self, loop)

    def dial(self) -> tuple[Any, str]:
        """A blocking connection and the user to log in as: ours, or one of a hub that replaced them."""
        native = self._connector._native
        options = self._options(self.remaining())
        socket: Any
        try:
            if not hub.replaces_sockets():
                socket, user = native.dial(self.instance, self.asked, **options)
                return socket, self._known(user)
            from .drivers.pair import HubSocket

            descriptor, user = hub.wait_for(native.dial_pair, self.instance, self.asked, **options)
            return HubSocket(descriptor), self._known(user)
        except ConfigError:
            self._refuse_mismatch()
            raise

    async def dial_async(self, loop: AbstractEventLoop, timeout: float | None = None) -> tuple[_native.Transport, str]:
        """A connection for `loop` and the user to log in as, within `timeout` or what is left of the login's own."""
        options = self._options(self.remaining() if timeout is None else timeout)
        try:
            transport, user = await self._connector._native.dial_async(loop, self.instance, self.asked, **options)
            return transport, self._known(user)
        except ConfigError:
            await self._refuse_mismatch_async(loop)
            raise

    def park(self) -> tuple[_native.Listener, str]:
        """A Unix socket behind which a ready connection waits, and the user to log in as."""
        try:
            listener = self._connector._listener(self)
            user = hub.wait_for(listener.park, self.asked)
            return listener, self._known(user)
        except ConfigError:
            self._refuse_mismatch()
            raise

    async def park_async(self, loop: AbstractEventLoop) -> tuple[_native.Listener, str]:
        """The same on `loop`."""
        try:
            listener = self._connector._listener(self)
            user = await listener.park_async(loop, self.asked)
            return listener, self._known(user)
        except ConfigError:
            await self._refuse_mismatch_async(loop)
            raise

    def remaining(self) -> float:
        """Seconds until the deadline, at least a tenth so that its end is reported as such."""
        left = self._deadline - time.monotonic()
        return left if left > 0.1 else min(self.timeout, 0.1)

    def refused(self, server_text: str, user: str) -> LoginError:
        """The error for a login as `user` that the database answered with `server_text`."""
        principal = fitting = None
        try:
            principal = hub.wait_for(self._connector._native.principal)
            fitting = hub.wait_for(self._connector._native.user_for, self.instance)
        except Error:
            pass  # What the server said matters more than whom we could not ask about it.
        return self._refusal(server_text, user, principal, fitting)

    async def refused_async(self, loop: AbstractEventLoop, server_text: str, user: str) -> LoginError:
        """The same on `loop`."""
        principal = fitting = None
        try:
            principal = await self._connector._native.principal_async(loop)
            fitting = await self._connector._native.user_for_async(loop, self.instance)
        except Error:
            pass
        return self._refusal(server_text, user, principal, fitting)

    def overdue(self) -> TimeoutError_:
        """The error for a login that outlasted the deadline."""
        return TimeoutError_(
            f"{self.instance}: the login did not end within {self.timeout:g} s", instance=self.instance
        )

    def _options(self, timeout: float) -> Any:
        return {"iam": self.iam, "ip_type": self.ip_type, "timeout": timeout, "engine": self.driver.ENGINE}

    def _refuse_mismatch(self) -> None:
        """Says which drivers would fit, if that is what was refused. The engine has the answer in its cache."""
        try:
            version = hub.wait_for(self._connector._native.database_version, self.instance)
        except Error:
            return
        drivers.refuse_mismatch(self.driver, version, self.instance)

    async def _refuse_mismatch_async(self, loop: AbstractEventLoop) -> None:
        try:
            version = await self._connector._native.database_version_async(loop, self.instance)
        except Error:
            return
        drivers.refuse_mismatch(self.driver, version, self.instance)

    def _refusal(self, server_text: str, user: str, principal: str | None, fitting: str | None) -> LoginError:
        text = _native.foreign_text(server_text)
        if self.iam:
            who = f"IAM login of {principal or 'an unknown principal'} as database user {user!r}"
            if fitting is None:
                advice = None
            elif fitting == user:
                advice = (
                    f"{user!r} is the right name: check that the user exists on the instance, that the instance has the"
                    " flag cloudsql.iam_authentication, and that the principal has roles/cloudsql.instanceUser"
                )
            else:
                advice = f"leave user out, or use {fitting!r}, the database user of this principal"
        else:
            who = f"password login as database user {user!r}"
            advice = "check user and password; for an IAM login leave the password out and pass enable_iam_auth=True"
            if fitting is not None:
                advice += f", as {fitting!r}"
        return LoginError(f"{self.instance}: {text}: {who}", instance=self.instance, advice=advice, retryable=False)

    @staticmethod
    def _known(user: str | None) -> str:
        if user is None:
            raise ConfigError("no user to log in as")
        return user


def running_loop() -> AbstractEventLoop:
    """The event loop that this coroutine runs on.

    Raises:
        ConfigError: it runs on something else than asyncio.
    """
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "an asyncio event loop must be running; under trio call the blocking methods with trio.to_thread.run_sync"
        ) from None


def _one_of(arguments: dict[str, Any], *names: str) -> Any:
    given = {name: arguments.pop(name) for name in names if name in arguments}
    values = [value for value in given.values() if value is not None]
    if len(values) > 1:
        raise ConfigError(f"{' and '.join(given)} mean the same: give one")
    return values[0] if values else None
