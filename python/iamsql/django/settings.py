"""One entry of Django's `DATABASES` → a connector and a login."""

from __future__ import annotations

from typing import Any

from ..connector import Connector
from ..errors import ConfigError
from ..listener import Listener
from ..login import Login


def login(settings: dict[str, Any], driver: str) -> Login:
    """The login that `settings` describe, with nothing of Django's in it but who and where."""
    arguments = {"user": settings["USER"] or None, "password": settings["PASSWORD"] or None}
    return _connector(settings)._login(_instance(settings), driver, arguments)


def inheritable(settings: dict[str, Any], engine: str) -> tuple[Listener, str]:
    """A socket for a program that Django starts, kept while this process lives, and the user to log in as."""
    connector, instance = _connector(settings), _instance(settings)
    password = bool(settings["PASSWORD"])
    listener = connector.listen(instance, enable_iam_auth=not password, engine=engine)
    _listeners.append(listener)
    return listener, settings["USER"] if password else connector.user(instance, settings["USER"] or None)


def _instance(settings: dict[str, Any]) -> str:
    if not settings["HOST"]:
        raise ConfigError('DATABASES: HOST is the instance, as in "PROJECT:REGION:INSTANCE"')
    return str(settings["HOST"])


def _connector(settings: dict[str, Any]) -> Connector:
    options = settings["OPTIONS"].get("connector") or {}
    if isinstance(options, Connector):
        return options
    key = repr(sorted(options.items()))
    # Two threads may make one each: the first stays, and the other costs nothing.
    return _connectors.get(key) or _connectors.setdefault(key, Connector(**options))


_connectors: dict[str, Connector] = {}
_listeners: list[Listener] = []
