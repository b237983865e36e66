"""The engine's errors → exceptions that are also of the classes that callers of the official connectors catch.

A class is mixed only where its package is installed. What a driver said is raised as the driver said it.
"""

from __future__ import annotations

import ssl
import types
from typing import Any

from ..errors import CredentialsError, Error, LoginError, TlsError


def common(error: Error) -> BaseException:
    """The exceptions that both official connectors have in common; else `error` itself."""
    if isinstance(error, LoginError) and isinstance(error.__cause__, Exception):
        return _of_the_driver(error, error.__cause__)
    if isinstance(error, CredentialsError):
        try:
            import google.auth.exceptions as google_auth
        except ImportError:
            return error
        nobody = "credentials" in error.message and error.http_status is None
        return mixed(error, google_auth.DefaultCredentialsError if nobody else google_auth.RefreshError)
    if isinstance(error, TlsError):
        return mixed(error, ssl.SSLError)
    return error


def mixed(error: Error, official: type[BaseException], **attributes: Any) -> Error:
    """`error` as an instance of its own class and of `official`, with the latter's attributes."""
    kind = _mixed_class(type(error), official)
    both = kind.__new__(kind, error.message)
    both.__dict__.update(error.__dict__, **attributes)
    both.args = (error.message,)
    both.__cause__ = error.__cause__
    return both


def plain(error: Error, official: type[Error], message: str) -> Error:
    """An `official` exception with the official `message`. What we know beyond it, its cause says."""
    translated = official(message)
    for name in ("instance", "http_status", "retry_at"):
        setattr(translated, name, getattr(error, name))
    translated.__cause__ = error
    return translated


def _mixed_class(ours: type[Error], official: type[BaseException]) -> type[Error]:
    key = (ours, official)
    if key not in _classes:
        _classes[key] = types.new_class(
            official.__name__,
            (ours, official),
            exec_body=lambda body: body.update(__module__=official.__module__, __str__=Error.__str__),
        )
    return _classes[key]


def _of_the_driver(error: LoginError, said: Exception) -> Exception:
    note = f"iamsql: {error}"
    if hasattr(said, "add_note") and note not in getattr(said, "__notes__", ()):
        said.add_note(note)
    return said


_classes: dict[tuple[type[Error], type[BaseException]], type[Error]] = {}
