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
    kept: list[Any] = []
    key = tuple((name, _identified(value, kept)) for name, value in sorted(options.items()))
    known = _connectors.get(key)
    if known is None:
        # Two threads may make one each: the first stays, and the other costs nothing.
        known = _connectors.setdefault(key, (Connector(**options), kept))
    return known[0]


def _identified(value: Any, kept: list[Any]) -> Any:
    """What tells `value` from any other and gives no secret away; `kept` gets what must live as long as that holds."""
    if type(value) is str:
        import hashlib

        return "text", hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    if value is None or type(value) in (bool, int, float):
        return type(value).__name__, value
    if type(value) in (list, tuple):
        return "list", tuple(_identified(item, kept) for item in value)
    kept.append(value)
    return "object", id(value)


_connectors: dict[Any, tuple[Connector, list[Any]]] = {}
_listeners: list[Listener] = []
