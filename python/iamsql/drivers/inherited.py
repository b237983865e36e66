"""Connections whose descriptors a forked child must not use: theirs would mix its messages with its parent's."""

from __future__ import annotations

import os
import socket
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def keep_from_children(connection: Any) -> None:
    """Cuts `connection`, which has a `fileno()`, off in a child that is forked while it is open."""
    _open.add(connection)


def _cut_off() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    for connection in list(_open):
        try:
            os.dup2(ours.fileno(), connection.fileno(), inheritable=False)
        except Exception:  # noqa: S110 - closed already, which each driver says in its own way
            pass
    ours.close()
    _open.clear()


_open: weakref.WeakSet[Any] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)
