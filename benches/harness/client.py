"""Runs one client process: one measurement of one side, in a process of its own, reporting one JSON line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.cores import confined
from harness.emulator import Emulator
from harness.staging import CHECKOUT, Packages

CLIENTS = CHECKOUT / "benches" / "clients"


class ClientError(Exception):
    """A client process ended with an error, was too slow, or reported nothing."""


class Clients:
    """The programs in `benches/clients`, and the environment that tells them where the emulator is."""

    def __init__(self, packages: Packages, emulator: Emulator, scratch: Path):
        self.packages = packages
        self.emulator = emulator
        self.environment = {
            **clean_environment(),
            **emulator.environment,
            "PYTHONPATH": str(packages.python),
            "BENCH_NODE_PACKAGE": str(packages.node),
            "BENCH_NODE_PEERS": str(packages.node_peers),
            "BENCH_INSTANCE": emulator.instance,
            "BENCH_USER": emulator.user,
            "BENCH_DATABASE": emulator.database,
            "BENCH_MYSQL_INSTANCE": emulator.named(":demo-mysql"),
            "BENCH_ALLOYDB_INSTANCE": emulator.named("/my-primary"),
            "BENCH_ADMIN_ENDPOINT": emulator.admin_endpoint,
            "BENCH_CERTIFICATE": str(scratch / "client.pem"),
            "BENCH_SERVER_CA": str(scratch / "server-ca.pem"),
        }
        made = self.execute([sys.executable, CLIENTS / "python" / "certificate.py", scratch])
        self.environment["BENCH_ADDRESS"] = made["address"]

    def measure(self, row, side: str) -> dict:
        """The numbers of one fresh process, in seconds and bytes."""
        program = {
            "python": [sys.executable, CLIENTS / "python" / "client.py"],
            "node": ["node", "--expose-gc", CLIENTS / "node" / "client.cjs"],
            "rust": [self.packages.rust_client],
        }[row.language]
        begin = time.monotonic()
        with confined(row.one_core):
            measured = self.execute([*program, row.measurement, side, row.driver])
        if "moment" in measured:
            measured["wall"] = measured.pop("moment") - begin
        return measured

    def execute(self, command: list) -> dict:
        ending = subprocess.run(
            [str(part) for part in command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
        )
        try:
            return json.loads(ending.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            said = (ending.stderr or ending.stdout).strip().splitlines()
            raise ClientError(
                said[-1] if said else f"it ended with status {ending.returncode} and said nothing"
            ) from None


def clean_environment() -> dict:
    """The caller's environment without whatever would point a Google client elsewhere, or slow one side down."""
    unwanted = ("GOOGLE_", "GCE_", "CLOUDSDK_", "IAMSQL_", "PG", "PYTHON", "NODE_", "RUST_LOG", "METADATA_")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {name: value for name, value in kept.items() if name.lower() not in proxies}


CLIENT_SECONDS = 120
