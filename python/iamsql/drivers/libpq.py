"""What the drivers on libpq share: they connect to the private listener's directory and report refusals as text."""

from __future__ import annotations

import math
import os
import re

from ..errors import BY_CODE, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .. import _native
    from ..login import Login


def parameters(login: Login, listener: _native.Listener, user: str) -> dict[str, Any]:
    """libpq's connection parameters. What the environment says about the way there is overruled."""
    given = dict(login.extra)
    given.setdefault("connect_timeout", max(2, math.ceil(login.remaining())))
    given.update(
        host=os.fspath(listener.directory()),
        hostaddr="",
        port=5432,
        # The listener speaks plain PostgreSQL; TLS, and the proof of who the server is, lie behind it.
        sslmode="disable",
        channel_binding="disable",
        user=user,
    )
    owner = _own_name()
    if owner is not None:
        given["requirepeer"] = owner
    if login.database is not None:
        given["dbname"] = login.database
    if login.password is not None:
        given["password"] = login.password
    return given


def reason(error: Exception, login: Login) -> Error | None:
    """The engine's own error, if it is what the listener answered: text, code as the detail, advice as the hint."""
    said = _ENGINE_SAYS.search(str(error))
    if said is None:
        return None
    text, code, advice = said.groups()
    return BY_CODE.get(code, Error)(text, advice=advice, instance=login.instance)


def refusal(error: Exception) -> str | None:
    """What the server said, if `error` is a refused login. While it connects, libpq shows the text, not the code."""
    text = str(error)
    if not any(sign in text for sign in _REFUSALS):
        return None
    if "FATAL:" in text:
        text = text.split("FATAL:", 1)[1]
    return text.strip().splitlines()[0]


def _own_name() -> str | None:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return None


_ENGINE_SAYS = re.compile(r"FATAL: +(.*)\n\S+ +(IAMSQL_[A-Z_]+)(?:\n\S+ +(.*))?")

_REFUSALS = (
    "authentication failed",
    "fe_sendauth",
    "no pg_hba.conf entry",
    "is not permitted to log in",
)
