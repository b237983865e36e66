"""The emulator that all sides are measured on: started for the run, ended with it, whatever ends the run."""

import json
import os
import select
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

from harness.staging import CHECKOUT

ADMIN_ENDPOINTS = ("connectSettings", "generateEphemeralCert", "connectionInfo", "generateClientCertificate")
METADATA_ENDPOINTS = ("metadata", "metadataToken")


class Emulator:
    """A running `iamsql-emulator` with its default world: an instance of each database, and one service account."""

    def __init__(self, process: subprocess.Popen, ready: dict):
        self.process = process
        self.control = ready["control"]
        # An empty value means that the variable is to be unset.
        self.environment = {name: value for name, value in ready["env"].items() if value}
        self.instances = {instance["name"]: instance for instance in ready["instances"]}
        self.instance = self.named(":demo-postgres")
        self.database = self.instances[self.instance]["databases"][0]
        self.user = ready["principal"].removesuffix(".gserviceaccount.com")
        self.admin_endpoint = ready["env"]["IAMSQL_EMULATOR_SQLADMIN_ENDPOINT"]

    def named(self, end: str) -> str:
        """The default instance whose name ends so; empty if there is none, as MySQL's without MariaDB."""
        return next((name for name in self.instances if name.endswith(end)), "")

    @classmethod
    def start(cls, program: Path) -> "Emulator":
        """Starts the program and waits until it is ready."""
        postgres = subprocess.run([CHECKOUT / "scripts" / "postgres"], check=True, stdout=subprocess.PIPE, text=True)
        command = [program, "--exit-with-parent", "--postgres", postgres.stdout.strip()]
        environment = {**os.environ, "RUST_LOG": "error"}
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            answered, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
            line = process.stdout.readline() if answered else b""
            if not line:
                raise SystemExit("the emulator did not start: run target/release/iamsql-emulator to see why")
            return cls(process, json.loads(line))
        except BaseException:
            stop(process)
            raise

    def calls(self) -> Counter:
        """How many calls each endpoint has received."""
        headers = {"Authorization": f"Bearer {self.control['bearer']}"}
        request = urllib.request.Request(f"{self.control['url']}/calls", headers=headers)
        # No proxy of the environment's is asked for a loopback address.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return Counter(call["endpoint"] for call in json.load(answer))

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_raised) -> None:
        stop(self.process)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


READY_SECONDS = 60
STOP_SECONDS = 10
