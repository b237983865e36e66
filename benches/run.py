#!/usr/bin/env python3
"""Runs the benchmarks: every side in fresh processes, interleaved, on one emulator; prints ratios beside the promises.

Started by `make bench`. A row that misses its promise does not fail the run: timings are read by people.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from harness import promises, record, results, rounds, staging, table
from harness.client import Clients
from harness.cores import confined
from harness.emulator import Emulator


def main() -> int:
    arguments = parse()
    rows = promises.chosen(arguments.only)
    if not rows:
        print(
            f"no row begins with {arguments.only!r}; rows are: {', '.join(row.name for row in promises.ROWS)}",
            file=sys.stderr,
        )
        return 2
    packages = staging.stage()
    begin = time.monotonic()
    with ExitStack() as stack:
        clients = {one_core: start(packages, one_core, stack) for one_core in {row.one_core for row in rows}}
        samples = rounds.run(rows, arguments.rounds, clients)
    judged = results.judge(rows, samples)
    print(table.table(judged))
    path = record.write(judged, packages, arguments.rounds, time.monotonic() - begin)
    print(f"\n{results.summary(judged)} Samples: {path.relative_to(staging.CHECKOUT)}")
    return 0


def start(packages: staging.Packages, one_core: bool, stack: ExitStack) -> Clients:
    """Clients of an emulator of their own, which ends with `stack`."""
    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="iamsql-bench-"))
    with confined(one_core):
        emulator = stack.enter_context(Emulator.start(packages.emulator))
    return Clients(packages, emulator, Path(scratch))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the warm-up round (default 5)")
    parser.add_argument(
        "--only", default="", help="rows whose name begins so, comma-separated: connect, select/asyncpg"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
