"""A private Unix socket as what settings can name: for programs that connect by themselves."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from . import _native


class Listener:
    """A Unix socket that leads to one instance: `connector.listen(...)` makes it.

    Every process of this user that can reach it is logged in, so its directory has mode 0700 and a random name, and the
    system is asked who connects. It goes with `close()`, with its connector, and with the process.
    """

    def __init__(self, native: _native.Listener) -> None:
        self._native = native

    @property
    def directory(self) -> str:
        """The directory: what libpq, and with it psycopg, psql or a `postgresql://` URL, takes as its `host`."""
        return os.fspath(self._native.directory())

    @property
    def path(self) -> str:
        """The socket itself: what MySQL's drivers take as their `unix_socket`."""
        return os.fspath(self._native.path())

    def close(self) -> None:
        """Removes the socket. Connections through it live on."""
        self._native.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
