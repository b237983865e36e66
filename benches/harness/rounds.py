"""Interleaves: every round runs each row on all its sides, each time beginning with another; the first warms up."""

import subprocess
import sys
from collections import Counter, defaultdict

from harness.client import ClientError, Clients
from harness.emulator import ADMIN_ENDPOINTS, METADATA_ENDPOINTS


def run(rows: list, count: int, clients: dict) -> dict:
    """All samples: (row name, side) → metric key → one list per round, each with a figure per repeat.

    `clients` has those of an emulator that runs anywhere (`False`) and of one confined to a core (`True`).

    A side that fails is reported and left out from there on; the others go on.
    """
    samples = defaultdict(lambda: defaultdict(list))
    failed = set()
    for number in range(count + 1):
        for row in rows:
            progress(number, count, row.name)
            for side in rotated(row.sides, number):
                if (row.name, side) in failed:
                    continue
                try:
                    reports = measure(row, side, 1 if number == 0 else row.repeats, clients[row.one_core])
                except (ClientError, subprocess.TimeoutExpired) as failure:
                    print(f"\n{row.name}, {side}: {failure}", file=sys.stderr)
                    failed.add((row.name, side))
                    samples.pop((row.name, side), None)
                    continue
                if number > 0:
                    for key in reports[0]:
                        samples[row.name, side][key].append([report[key] for report in reports])
    progress(count, count, "done")
    print(file=sys.stderr)
    return samples


def measure(row, side: str, repeats: int, clients: Clients) -> list:
    """The reports of `repeats` fresh processes; the first row's with the calls that the emulator counted meanwhile."""
    reports = []
    for _ in range(repeats):
        before = clients.emulator.calls()
        report = clients.measure(row, side)
        if row.measurement == "first-row":
            report.update(calls_between(before, clients.emulator.calls()))
        reports.append(report)
    return reports


def calls_between(before: Counter, after: Counter) -> dict:
    made = after - before
    return {
        "admin_calls": sum(made[endpoint] for endpoint in ADMIN_ENDPOINTS),
        "metadata_calls": sum(made[endpoint] for endpoint in METADATA_ENDPOINTS),
    }


def rotated(sides: tuple, by: int) -> tuple:
    first = by % len(sides)
    return sides[first:] + sides[:first]


def progress(number: int, count: int, what: str) -> None:
    name = "warm-up" if number == 0 else f"round {number} of {count}"
    end = "" if sys.stderr.isatty() else "\n"
    start = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{start}{name}: {what}", end=end, file=sys.stderr, flush=True)
