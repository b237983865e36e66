"""What the official connector's options may be."""

from __future__ import annotations

from enum import Enum

from .exceptions import IncompatibleDriverError


class RefreshStrategy(Enum):
    """When certificates are renewed."""

    LAZY = "LAZY"
    BACKGROUND = "BACKGROUND"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"Incorrect value for refresh_strategy, got '{value}'. Want one of: {_values(cls)}.")

    @classmethod
    def _from_str(cls, refresh_strategy: str) -> RefreshStrategy:
        return cls(refresh_strategy.upper())


class IPTypes(Enum):
    """Which of an instance's addresses to dial."""

    PUBLIC = "PRIMARY"
    PRIVATE = "PRIVATE"
    PSC = "PSC"
    SQL_DATA = "SQL_DATA"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"Incorrect value for ip_type, got '{value}'. Want one of: {_values(cls)}, 'PUBLIC'.")

    @classmethod
    def _from_str(cls, ip_type_str: str) -> IPTypes:
        word = ip_type_str.upper()
        return cls({"PUBLIC": "PRIMARY", "SQLDATA": "SQL_DATA"}.get(word, word))


class DriverMapping(Enum):
    """Which engine a driver is for."""

    ASYNCPG = "POSTGRES"
    PG8000 = "POSTGRES"  # noqa: PIE796
    PSYCOPG = "POSTGRES"  # noqa: PIE796
    PYMYSQL = "MYSQL"
    PYTDS = "SQLSERVER"

    @staticmethod
    def validate_engine(driver: str, engine_version: str) -> None:
        """Refuses a driver that does not speak to `engine_version`, as in `"POSTGRES_16"`.

        Raises:
            IncompatibleDriverError: it is for another engine.
        """
        mapping = DriverMapping[driver.upper()]
        if not engine_version.startswith(mapping.value):
            raise IncompatibleDriverError(
                f"Database driver '{driver}' is incompatible with database version '{engine_version}'. Given driver "
                f"can only be used with Cloud SQL {mapping.value} databases."
            )


def _values(options: type[Enum]) -> str:
    return ", ".join(repr(member.value) for member in options)
