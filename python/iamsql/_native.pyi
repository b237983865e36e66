"""The engine's Python module. Private: its public face is the package `iamsql`.

Compared with the built module by `mypy.stubtest`, in `tests/test_typing.py`.
"""

import os
from asyncio import AbstractEventLoop
from collections.abc import Awaitable
from typing import Any, final

__all__ = [
    "Connector",
    "Credentials",
    "File",
    "Listener",
    "Socket",
    "Transport",
    "__version__",
    "after_fork",
    "error_codes",
    "foreign_text",
    "shut_down",
]

__version__: str

@final
class Connector:
    """Dials instances as one Google identity, from any thread, event loop or forked child."""

    def __new__(
        cls,
        *,
        ip_type: str | None = None,
        iam: bool | None = None,
        timeout: float | None = None,
        credentials: Credentials | None = None,
        login_credentials: Credentials | None = None,
        login_scope: str | None = None,
        quota_project: str | None = None,
        admin_endpoint: str | None = None,
        alloydb_endpoint: str | None = None,
        sql_data_endpoint: str | None = None,
        user_agent: str | None = None,
        universe_domain: str | None = None,
        refresh_strategy: str | None = None,
        dns_servers: list[str] | None = None,
        domain_projects: list[str] | None = None,
        failover_period: float | None = None,
        static_connection_info: str | None = None,
        emulator_host: str | None = None,
    ) -> Connector: ...
    def dial(
        self,
        instance: str,
        user: str | None = None,
        *,
        iam: bool,
        ip_type: str | None = None,
        timeout: float | None = None,
        engine: str | None = None,
    ) -> tuple[Socket, str | None]: ...
    def dial_async(
        self,
        event_loop: AbstractEventLoop,
        instance: str,
        user: str | None = None,
        *,
        iam: bool,
        ip_type: str | None = None,
        timeout: float | None = None,
        engine: str | None = None,
    ) -> Awaitable[tuple[Transport, str | None]]: ...
    def dial_pair(
        self,
        instance: str,
        user: str | None = None,
        *,
        iam: bool,
        ip_type: str | None = None,
        timeout: float | None = None,
        engine: str | None = None,
    ) -> tuple[int, str | None]: ...
    def listen(
        self,
        instance: str,
        *,
        iam: bool,
        ip_type: str | None = None,
        timeout: float | None = None,
        engine: str | None = None,
        same_process: bool = True,
        socket_name: str | None = None,
    ) -> Listener: ...
    def user_for(self, instance: str, given: str | None = None) -> str: ...
    def user_for_async(
        self, event_loop: AbstractEventLoop, instance: str, given: str | None = None
    ) -> Awaitable[str]: ...
    def database_version(self, instance: str) -> str: ...
    def database_version_async(self, event_loop: AbstractEventLoop, instance: str) -> Awaitable[str]: ...
    def principal(self) -> str | None: ...
    def principal_async(self, event_loop: AbstractEventLoop) -> Awaitable[str | None]: ...
    def close(self) -> None: ...

@final
class Credentials:
    """Google credentials, as an argument of `Connector`. Shows nothing of what it holds and cannot be pickled."""

    @staticmethod
    def file(path: str | os.PathLike[str]) -> Credentials: ...
    @staticmethod
    def json(text: str) -> Credentials: ...
    @staticmethod
    def default() -> Credentials: ...
    @staticmethod
    def gcloud() -> Credentials: ...
    @staticmethod
    def impersonate(base: Credentials, target: str, delegates: list[str]) -> Credentials: ...
    @staticmethod
    def tokens(token: str, login_token: str | None = None) -> Credentials: ...
    @staticmethod
    def source(source: Any) -> Credentials: ...

@final
class Socket:
    """A connected, authenticated byte stream with the methods of `socket.socket` that drivers use."""

    def recv(self, size: int) -> bytes: ...
    def recv_into(self, buffer: Any, size: int = 0) -> int: ...
    def sendall(self, data: Any) -> None: ...
    def send(self, data: Any) -> int: ...
    def makefile(self, mode: str = "rwb", buffering: int | None = None) -> File: ...
    def settimeout(self, timeout: float | None) -> None: ...
    def set_deadline(self, limit: float | None) -> None: ...
    def gettimeout(self) -> float | None: ...
    def setsockopt(self, level: int, option: int, value: Any) -> None: ...
    def fileno(self) -> int: ...
    def pending(self) -> int: ...
    def shutdown(self, how: int) -> None: ...
    def close(self) -> None: ...
    @property
    def failure(self) -> BaseException | None: ...

@final
class File:
    """What `Socket.makefile()` returns: `read(n)` waits for all `n` bytes, `write` sends at `flush` or when enough came
    together."""

    def read(self, size: int) -> bytes: ...
    def write(self, data: Any) -> int: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...

@final
class Transport:
    """A connected, authenticated byte stream of which nothing blocks."""

    def read(self) -> bytes | None: ...
    def write(self, data: Any) -> int: ...
    def flush(self) -> bool: ...
    def wants_write(self) -> bool: ...
    def pending(self) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

@final
class Listener:
    """A Unix socket in a directory of its own that leads to one instance, for this process alone."""

    def directory(self) -> os.PathLike[str]: ...
    def path(self) -> os.PathLike[str]: ...
    def park(self, user: str | None = None) -> str | None: ...
    def park_async(self, event_loop: AbstractEventLoop, user: str | None = None) -> Awaitable[str | None]: ...
    def is_current(self) -> bool: ...
    def close(self) -> None: ...

def error_codes() -> list[tuple[str, bool]]: ...
def foreign_text(text: str) -> str: ...
def after_fork() -> None: ...
def shut_down() -> None: ...
