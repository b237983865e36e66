"""Fixtures: the emulator, a connector that uses it, and interpreters of a test's own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap

import pytest

import iamsql
from emulator import DATABASE, INSTANCE, Emulator


@pytest.fixture(scope="session")
def emulator():
    started = Emulator()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def password_user(emulator) -> tuple[str, str]:
    """A built-in database user and its password."""
    user = emulator.ready["users"][0]
    return user["name"], user["password"]


@pytest.fixture
def connector(emulator):
    with iamsql.Connector(emulator_host=emulator.host) as made:
        yield made


@pytest.fixture(scope="session")
def sockets():
    """Where interpreters of a test's own put their sockets: a child that is killed leaves one behind."""
    with tempfile.TemporaryDirectory(prefix="pytest-") as directory:
        yield directory


@pytest.fixture
def run(emulator, tmp_path, sockets):
    """Runs Python code in an interpreter of its own, inside the emulator's world, and returns how it ended."""

    def run(code: str, *, timeout: float = 60, check: bool = True, environment: dict[str, str] | None = None):
        ended = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
            env={**own_environment(emulator), "TMPDIR": sockets, **(environment or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert ended.returncode == 0, f"ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    return run


def own_environment(emulator) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "GOOGLE_", "GCE_", "XDG_"))
    }
    return {
        **inherited,
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[1]),
        "PYTHONDEVMODE": "",
        "IAMSQL_EMULATOR_HOST": emulator.host,
        "INSTANCE": INSTANCE,
        "DATABASE": DATABASE,
    }
