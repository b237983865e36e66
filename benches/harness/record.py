"""The results as JSON for machines: seconds and bytes throughout."""

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from harness.results import Result
from harness.staging import CHECKOUT, Packages

RESULTS = CHECKOUT / "benches" / "results"
PYTHON_PACKAGES = (
    "cloud-sql-python-connector",
    "google-cloud-alloydb-connector",
    "pg8000",
    "psycopg",
    "asyncpg",
    "pymysql",
    "uvloop",
)
NODE_PACKAGES = ("@google-cloud/cloud-sql-connector", "pg", "mysql2")


def write(results: list, packages: Packages, rounds: int, seconds: float) -> Path:
    """Writes `benches/results/TIME.json` and says where."""
    moment = datetime.now(timezone.utc)
    document = {
        "when": moment.isoformat(timespec="seconds"),
        "took_seconds": round(seconds),
        "rounds": rounds,
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
        },
        "versions": versions(packages),
        "results": [as_json(result) for result in results],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{moment:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def as_json(result: Result) -> dict:
    return {
        "row": result.row,
        "figure": result.metric.title,
        "key": result.metric.key,
        "medians": result.medians,
        "ours_to_peer": result.ratio("peer"),
        "ours_to_floor": result.ratio("floor"),
        "promise": result.metric.promise and asdict(result.metric.promise),
        "kept": result.kept,
        "aim": result.metric.aim and asdict(result.metric.aim),
        "reached": result.reached,
        "samples": result.samples,
    }


def versions(packages: Packages) -> dict:
    """Of what was measured: the peers, the drivers, the interpreters."""
    found = {name: metadata.version(name) for name in PYTHON_PACKAGES}
    for name in NODE_PACKAGES:
        manifest = packages.node_peers / "node_modules" / name / "package.json"
        found[name] = json.loads(manifest.read_text(encoding="utf-8"))["version"]
    found["python"] = platform.python_version()
    found["node"] = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return found
