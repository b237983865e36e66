"""Starts the emulator's program for Google's own Python connector, which runs unmodified against it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = os.environ.get("IAMSQL_EMULATOR_PROGRAM", str(ROOT / "target/debug/iamsql-emulator"))
INSTANCE = "your-project-id:us-central1:demo-postgres"
CAS = "your-project-id:us-central1:cas-postgres"
ALLOYDB = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary"
READ_POOL = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-read-pool"
NO_IAM_ALLOYDB = "projects/my-project/locations/us-central1/clusters/no-iam/instances/my-primary"
SQL_SERVER = "your-project-id:us-central1:demo-sqlserver"
NO_IAM = "your-project-id:us-central1:plain-postgres"
HUMAN = "jane@example.com"
SERVICE_ACCOUNT = "cloudsql-client@your-project-id.iam.gserviceaccount.com"


class Emulator:
    """The running program: its ready line, and its control endpoints."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self.ready = ready
        self.url: str = ready["url"]
        self.user: str = ready["users"][0]["name"]
        self.password: str = ready["users"][0]["password"]

    def control(self, path: str, body: object = None, method: str = "POST") -> Any:
        request = urllib.request.Request(
            self.ready["control"]["url"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Bearer " + self.ready["control"]["bearer"],
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None

    def instance(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.ready["instances"] if one["name"] == name]
        return found

    def sessions(self, instance: str = INSTANCE) -> list[dict[str, Any]]:
        return [one for one in self.control("/sessions", method="GET") if one["instance"] == instance]


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    program = subprocess.Popen(
        [
            PROGRAM,
            "--exit-with-parent",
            *("--instance", INSTANCE),
            *("--instance", CAS + "?ca=cas"),
            *("--instance", NO_IAM + "?iam=off"),
            *("--sql-server", SQL_SERVER),
            *("--instance", ALLOYDB + "?address=both&address=psc"),
            *("--instance", READ_POOL + "?address=private"),
            *("--instance", NO_IAM_ALLOYDB + "?iam=off"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    try:
        line = program.stdout.readline()
        assert line, "the emulator ended before it was ready"
        yield Emulator(json.loads(line))
    finally:
        program.terminate()
        program.wait(10)


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `eval "$(iamsql-emulator --env)"` gives a shell."""
    for name, value in emulator.ready["env"].items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
