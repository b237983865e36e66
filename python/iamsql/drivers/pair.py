"""One end of a socket pair as a socket of gevent or eventlet, so that reading yields to the hub."""

from __future__ import annotations

import socket
import time

from .inherited import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class HubSocket(socket.socket):
    """The replaced `socket.socket` around the engine's descriptor, with the two words that our own socket adds."""

    failure: BaseException | None = None

    def __init__(self, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self._deadline: float | None = None
        self._each: float | None = None
        # On the object, since eventlet puts its own there too. What drivers set of TCP, the engine has set already.
        self.__dict__["setsockopt"] = _accept
        keep_from_children(self)

    def set_deadline(self, limit: float | None) -> None:
        """How long all reads from here on may take together, in seconds; `None` ends that."""
        self._deadline = None if limit is None else time.monotonic() + limit
        self._limit()

    def settimeout(self, value: float | None) -> None:
        self._each = value
        super().settimeout(value)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self._deadline is not None:
            self._limit()
        return super().recv_into(*args, **kwargs)

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        if self._deadline is not None:
            self._limit()
        return super().recv(*args, **kwargs)

    def _limit(self) -> None:
        limits = [] if self._each is None else [self._each]
        if self._deadline is not None:
            limits.append(max(self._deadline - time.monotonic(), 0.001))
        super().settimeout(min(limits, default=None))


def _accept(*_: Any) -> None:
    pass
