"""How a principal is spelled as a database user."""

from __future__ import annotations


def format_database_user(database_version: str, user: str) -> str:
    """`user` as `database_version`, like `"POSTGRES_16"`, spells an IAM principal."""
    suffix = ".gserviceaccount.com"
    if database_version.startswith("POSTGRES") and user.endswith(suffix):
        return user[: -len(suffix)]
    if database_version.startswith("MYSQL"):
        return user.split("@")[0]
    return user
