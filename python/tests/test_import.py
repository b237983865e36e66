"""Importing the package must cost next to nothing."""

import json
import subprocess
import sys

HEAVY = ("asyncio", "ssl", "socket", "inspect", "typing", "enum", "threading", "logging", "importlib.metadata")


def imported(code: str) -> set:
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys\n{code}\nimport json\nprint(json.dumps(list(sys.modules)))"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(shown.stdout))


def test_the_import_brings_in_nothing_heavy():
    brought = imported("import iamsql") - imported("")
    assert "iamsql._native" in brought
    assert not brought & set(HEAVY)
    assert len(brought) < 16, sorted(brought)


def test_a_connector_brings_in_nothing_heavy():
    brought = imported("import iamsql; iamsql.Connector(token='a-token-of-no-use')") - imported("")
    assert not brought & set(HEAVY)
