"""The shapes of the official samples: each file runs with the official import, and with ours in its place."""

from __future__ import annotations

import pathlib

import pytest

from emulator import DATABASE, IAM_USER, INSTANCE
from test_matrix import INSTANCES

SAMPLES = sorted((pathlib.Path(__file__).parent / "samples").glob("*.py"))
IMPORTS = {
    "google.cloud.sql.connector": "iamsql.compat.cloudsql",
    "google.cloud.alloydbconnector": "iamsql.compat.alloydb",
}


@pytest.mark.parametrize("whose", ["official", "ours"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_runs_with_only_the_import_changed(emulator, run, sample, whose):
    code = sample.read_text(encoding="utf-8")
    known = {instance["name"] for instance in emulator.control("GET", "/instances")}
    needed = {"alloydb": "alloydb", "pymysql": "mysql"}
    for word, database in needed.items():
        if word in sample.stem and INSTANCES[database] not in known:
            pytest.skip(f"the emulator has no {database} here")
    for theirs, ours in IMPORTS.items():
        if theirs in code:
            pytest.importorskip(theirs)
        if whose == "ours":
            code = code.replace(f"from {theirs} import", f"from {ours} import")
    assert ("iamsql" in code) == (whose == "ours")
    # Google's connector for AlloyDB speaks gRPC, on a port of its own; ours REST.
    alloydb = emulator.ready["grpc"] if whose == "official" else f"http://{emulator.host}"
    ended = run(
        code,
        environment={
            **emulator.ready["env"],
            "SQLADMIN_ENDPOINT": f"http://{emulator.host}",
            "ALLOYDB_ENDPOINT": alloydb,
            "INSTANCE_CONNECTION_NAME": INSTANCE,
            "MYSQL_CONNECTION_NAME": INSTANCES["mysql"],
            "ALLOYDB_INSTANCE": INSTANCES["alloydb"],
            "DB_IAM_USER": "cloudsql-client" if "mysql" in sample.stem else IAM_USER,
            "DB_NAME": DATABASE,
        },
    )
    assert ended.stdout.split()[-1] == ("cloudsql-client" if "mysql" in sample.stem else IAM_USER)
