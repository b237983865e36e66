"""Credentials objects of the caller → what the engine calls back for tokens."""

from __future__ import annotations

import os
from typing import Any, Protocol, Union

from . import _native
from .errors import ConfigError


class TokenSource(Protocol):
    """Credentials of your own. Called from the engine's own threads."""

    def token(self, scope: str) -> tuple[str, float | None, str | None]:
        """An access token, its expiry in seconds since 1970, and the principal's e-mail; `None` where unknown.

        `scope` is a URL that ends in `sqlservice.admin` or `cloud-platform` for the APIs, in `sqlservice.login` or
        `alloydb.login` for the login. A login token carries that scope and nothing broader; if there is no such, say so
        with a fourth value, True.
        """

    def principal(self) -> str | None:
        """The principal's e-mail, if it can be known without a token."""


CredentialsLike = Union[str, "os.PathLike[str]", TokenSource, Any]
"""What `Connector(credentials=...)` takes: a path, a `TokenSource`, a google-auth credentials object."""


def adopt(given: CredentialsLike, universe_domain: str | None) -> _native.Credentials:
    """`given` as the engine takes it: a path, a google-auth object, a `TokenSource`.

    Raises:
        ConfigError: it is none of these, or of another universe.
    """
    if isinstance(given, _native.Credentials):
        return given
    if isinstance(given, (str, os.PathLike)):
        return _native.Credentials.file(os.fspath(given))
    if callable(getattr(given, "token", None)) and callable(getattr(given, "principal", None)):
        return _native.Credentials.source(given)
    if callable(getattr(given, "refresh", None)) and hasattr(given, "token") and hasattr(given, "expiry"):
        return _native.Credentials.source(GoogleAuth(given, universe_domain))
    raise ConfigError(
        f"credentials must be a google-auth credentials object, a TokenSource or a path, not {type(given).__name__}"
    )


class GoogleAuth:
    """A google-auth credentials object as a `TokenSource`: one copy of it per scope, refreshed when asked."""

    def __init__(self, credentials: Any, universe_domain: str | None) -> None:
        own = getattr(credentials, "universe_domain", None) or "googleapis.com"
        configured = universe_domain or os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN") or "googleapis.com"
        if own != configured:
            raise ConfigError(f"the credentials are of the universe {own}, the connector is of {configured}")
        self._credentials = credentials
        self._scoped: dict[str, tuple[Any, bool]] = {}

    def token(self, scope: str) -> tuple[str, float | None, str | None, bool]:
        if scope not in self._scoped:
            self._scoped[scope] = _scoped(self._credentials, scope)
        credentials, broad = self._scoped[scope]
        if not credentials.valid or (_is_login(scope) and not broad):
            credentials.refresh(_request())
        return credentials.token, _seconds_since_1970(credentials.expiry), self.principal(), broad

    def principal(self) -> str | None:
        for credentials in (*(scoped for scoped, _ in self._scoped.values()), self._credentials):
            for name in ("service_account_email", "account"):
                email = getattr(credentials, name, None)
                if isinstance(email, str) and "@" in email:
                    return email
        return None

    def __repr__(self) -> str:
        return f"<GoogleAuth {type(self._credentials).__name__}>"


def _scoped(credentials: Any, scope: str) -> tuple[Any, bool]:
    """A copy for `scope`, and whether it may do more than that. For the API credentials may be as they are."""
    narrow = _is_login(scope)
    if callable(getattr(credentials, "with_scopes", None)) and (narrow or credentials.requires_scopes):
        return credentials.with_scopes([scope]), False
    if not narrow:
        return credentials, False
    if list(getattr(credentials, "scopes", None) or ()) == [scope]:
        return credentials, False
    if not hasattr(credentials, "_scopes"):
        return credentials, True
    import copy

    narrowed = copy.copy(credentials)
    narrowed._scopes = [scope]
    narrowed.token = None
    narrowed.expiry = None
    return narrowed, False


def _is_login(scope: str) -> bool:
    return scope.endswith(".login")


def _request() -> Any:
    try:
        from google.auth.transport.requests import Request
    except ImportError:
        import urllib3
        from google.auth.transport.urllib3 import Request

        return Request(urllib3.PoolManager())
    return Request()


def _seconds_since_1970(expiry: Any) -> float | None:
    """google-auth's expiry, which is in UTC and does not say so."""
    if expiry is None:
        return None
    import calendar

    return calendar.timegm(expiry.utctimetuple())
