"""What the official connector's options may be."""

from __future__ import annotations

from enum import Enum


class IPTypes(Enum):
    """Which of an instance's addresses to dial."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    PSC = "PSC"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"Incorrect value for ip_type, got '{value}'. Want one of: {_values(cls)}.")


class RefreshStrategy(Enum):
    """When certificates are renewed."""

    LAZY = "LAZY"
    BACKGROUND = "BACKGROUND"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"Incorrect value for refresh_strategy, got '{value}'. Want one of: {_values(cls)}.")


def _values(options: type[Enum]) -> str:
    return ", ".join(repr(member.value) for member in options)
