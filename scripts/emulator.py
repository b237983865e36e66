"""Starts an emulator for a script, and says what its clients should see of the environment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "debug"
PYTHON = ROOT / ".local/venv/bin/python"

INSTANCE = "your-project-id:us-central1:demo-postgres"
MYSQL = "your-project-id:us-central1:demo-mysql"
ALLOYDB = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary"
DATABASE = "mydb"
USER = "cloudsql-client@your-project-id.iam"

# Variables that would lead a client to somebody's real account or server.
ACCOUNTS = ("GOOGLE_", "CLOUDSDK_", "GCE_METADATA", "IAMSQL_EMULATOR_HOST", "PG", "CSQL_PROXY", "ALLOYDB_PROXY")


def postgres_programs() -> str:
    """The directory of PostgreSQL's programs; installs the wheel if the system has none."""
    return subprocess.run([ROOT / "scripts/postgres"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def clean_environment() -> dict:
    """The caller's environment without anybody's account, with our programs and PostgreSQL's on the PATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ACCOUNTS)}
    environment["PATH"] = os.pathsep.join([str(PROGRAMS), environment["PATH"], postgres_programs()])
    return environment


class Emulator:
    """A running `iamsql-emulator` with the documentation's instance; ends with its `with` block or this process."""

    def __init__(self) -> None:
        self.environment = clean_environment()
        self._process = subprocess.Popen(
            [PROGRAMS / "iamsql-emulator", "--exit-with-parent"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = self._process.stdout.readline()
        if not ready:
            sys.exit(f"the emulator ended with {self._process.wait()}")
        said = json.loads(ready)
        self.environment["IAMSQL_EMULATOR_HOST"] = said["env"]["IAMSQL_EMULATOR_HOST"]
        # MySQL's is missing where there is no MariaDB.
        self.instances = {instance["name"] for instance in said["instances"]}

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


class Proxy:
    """A running `iamsql-proxy`, ready when this is made."""

    def __init__(self, command: list, environment: dict) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "ready for new connections" in line:
                return
        sys.exit(f"{''.join(said)}{command[0]} ended with {self._process.wait()}")

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.stdout.read()
        self._process.wait()
