"""What both official connectors refuse before anything is dialled, in their words."""

from __future__ import annotations

import os
from typing import Any


def require_google_auth(credentials: Any) -> None:
    """Refuses what is no google-auth credentials object."""
    try:
        from google.auth.credentials import Credentials
    except ImportError:
        return
    if not isinstance(credentials, Credentials):
        raise TypeError(f"credentials must be of type google.auth.credentials.Credentials, got {type(credentials)}")


def require_same_universe(credentials: Any, universe_domain: str | None) -> None:
    """Refuses credentials of another universe than the connector's."""
    configured = universe_domain or os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN") or "googleapis.com"
    own = getattr(credentials, "universe_domain", None) or configured
    if own != configured:
        raise ValueError(
            f"The configured universe domain ({configured}) does not match the universe domain found in the "
            f"credentials ({own}). If you haven't configured the universe domain explicitly, `googleapis.com` is the "
            "default."
        )


def require_driver(driver: str) -> None:
    """Refuses a driver that is not installed."""
    try:
        __import__(driver)
    except ImportError:
        raise ImportError(f'Unable to import module "{driver}." Please install and try again.') from None


def require(given: dict[str, Any], name: str) -> None:
    """Refuses a call without the argument `name`."""
    if name not in given:
        raise KeyError(name)


def own_name() -> str:
    """Whom MySQL's drivers log in as if nobody is named."""
    import getpass

    return getpass.getuser()
