"""What the drivers of MySQL share: the way there, and what a refused login looks like."""

from __future__ import annotations

import os
import re

from ..errors import BY_CODE, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .. import _native
    from ..login import Login


def parameters(login: Login, listener: _native.Listener, user: str) -> dict[str, Any]:
    """What a driver needs to connect to the private listener. A local socket is a secure transport to all of them."""
    given = without_tls(login.extra)
    given.update(unix_socket=os.fspath(listener.path()), user=user, password=login.password or "")
    return given


def without_tls(extra: dict[str, Any]) -> dict[str, Any]:
    """The driver's arguments without those that ask for TLS: it lies behind the socket."""
    return {name: value for name, value in extra.items() if not name.startswith("ssl_")}


def reason(error: Exception, login: Login) -> Error | None:
    """The engine's own error, if it is what the listener answered."""
    said = _ENGINE_SAYS.search(_text(error))
    if said is None:
        return None
    return BY_CODE.get(said[1], Error)(_text(error), instance=login.instance)


def refusal(error: BaseException) -> str | None:
    """What the server said, if `error` is a refused login."""
    arguments = getattr(error, "args", ())
    return _text(error) if arguments and arguments[0] in _REFUSALS else None


def _text(error: BaseException) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)


_ENGINE_SAYS = re.compile(r"(IAMSQL_[A-Z_]+)")

_REFUSALS = (1045, 1698, 3118, 3955)
"""Access denied; the same without a password; a locked account; too many failed logins."""
