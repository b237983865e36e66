"""The emulator's binary as the tests drive it: started once per run, ended with it, scripted over its control port."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = "your-project-id"
INSTANCE = f"{PROJECT}:us-central1:demo-postgres"
DATABASE = "mydb"
SERVICE_ACCOUNT = f"cloudsql-client@{PROJECT}.iam.gserviceaccount.com"
HUMAN = "jane@example.com"
IAM_USER = f"cloudsql-client@{PROJECT}.iam"


class Emulator:
    """One running emulator."""

    def __init__(self) -> None:
        binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "iamsql-emulator"
        if not binary.exists():
            raise FileNotFoundError(f"{binary}: run `make build` first")
        self.process = subprocess.Popen(
            [str(binary), "--exit-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the emulator ended with {self.process.wait()} before it was ready")
        self.ready = json.loads(line)
        self.host: str = self.ready["host"]
        self._names = itertools.count(1)

    def control(self, method: str, path: str, body: object = None) -> object:
        """One call of the control API; what it answers, as JSON."""
        request = urllib.request.Request(
            self.ready["control"]["url"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.ready['control']['bearer']}", "Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def instance(self, database: str = "echo", **spec: object) -> str:
        """A new instance of a test's own."""
        name = f"{PROJECT}:us-central1:python-{next(self._names)}"
        self.control("POST", "/instances", {"name": name, "database": database, **spec})
        return name

    def fault(self, endpoint: str, kind: str, *, instance: str, times: int | None = None, **effect: object) -> None:
        """Scripts a failure for one instance."""
        self.control(
            "POST",
            "/faults",
            {"endpoint": endpoint, "effect": {"kind": kind, **effect}, "instance": instance, "times": times},
        )

    def calls(self) -> list[dict[str, object]]:
        """The HTTP calls received so far."""
        return self.control("GET", "/calls")

    def sessions(self, instance: str) -> list[dict[str, object]]:
        """The connections to an instance so far."""
        return [session for session in self.control("GET", "/sessions") if session["instance"] == instance]

    def token(self, scope: str, principal: str = SERVICE_ACCOUNT) -> str:
        """A fresh access token."""
        scopes = [f"https://www.googleapis.com/auth/{scope}"]
        answer = self.control("POST", "/token", {"principal": principal, "scopes": scopes})
        return answer["access_token"]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(timeout=20)
