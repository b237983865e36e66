"""Puts the packages as they would be installed, with release builds inside, where the clients import them.

The checkout's own `python/` and `node/` keep their development builds.
"""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STAGE = CHECKOUT / ".local" / "bench"
RELEASE = CHECKOUT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"


@dataclass(frozen=True)
class Packages:
    """What the clients run: ours, staged, and the peers, as locked."""

    emulator: Path
    python: Path  # the directory to import `iamsql` from
    node: Path  # the directory to require `iamsql` from
    node_peers: Path
    rust_client: Path


def stage() -> Packages:
    """Assembles `.local/bench` afresh from the checkout and `target/release`."""
    if not sys.platform.startswith("linux"):
        sys.exit("the benchmarks read /proc: they run on Linux only")
    for built in (RELEASE / "libiamsql_python.so", RELEASE / "libiamsql_node.so", RELEASE / "iamsql-emulator"):
        if not built.exists():
            sys.exit(f"{built} is missing: run `make bench`, which builds it")
    shutil.rmtree(STAGE, ignore_errors=True)

    python = STAGE / "python"
    unbuilt = shutil.ignore_patterns("*.so", "__pycache__", "*.pyc")
    shutil.copytree(CHECKOUT / "python" / "iamsql", python / "iamsql", ignore=unbuilt)
    shutil.copy2(RELEASE / "libiamsql_python.so", python / "iamsql" / "_native.abi3.so")

    node = STAGE / "node"
    unneeded = shutil.ignore_patterns("node_modules", "*.node", "test", "tests", "src")
    shutil.copytree(CHECKOUT / "node", node, ignore=unneeded)
    (node / "native").mkdir(exist_ok=True)
    shutil.copy2(RELEASE / "libiamsql_node.so", node / "native" / f"iamsql.{node_platform()}.node")

    return Packages(
        emulator=RELEASE / "iamsql-emulator",
        python=python,
        node=node,
        node_peers=CHECKOUT / "tests" / "peers" / "node",
        rust_client=RELEASE / "iamsql-bench",
    )


def node_platform() -> str:
    """The platform's name in the addon's file name, as `node/` spells it."""
    architecture = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    libc = "gnu" if platform.libc_ver()[0] == "glibc" else "musl"
    return f"linux-{architecture}-{libc}"
