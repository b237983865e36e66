"""The results as a table for people."""

from typing import Optional

from harness.results import Result

HEADER = ["row", "figure", "ours", "peer", "floor", "ours/peer", "ours/floor", "rounds", "promise", "", "aim", ""]
SCALES = {"ms": 1e3, "µs": 1e6, "MiB": 2**-20, "KiB": 2**-10, "": 1}


def table(results: list) -> str:
    """An aligned table, one line per figure."""
    lines = [HEADER, *(line(result) for result in results)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(HEADER))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in lines)


def line(result: Result) -> list:
    metric = result.metric
    return [
        result.row,
        metric.title,
        *(amount(result.medians.get(side), metric.unit) for side in ("ours", "peer", "floor")),
        ratio(result.ratio("peer")),
        ratio(result.ratio("floor")),
        "" if result.spread is None else " to ".join(ratio(end) for end in result.spread),
        str(metric.promise or ""),
        verdict(metric.promise, result.kept, "kept", "MISSED"),
        str(metric.aim or ""),
        verdict(metric.aim, result.reached, "reached", "not yet"),
    ]


def amount(value: Optional[float], unit: str) -> str:
    if value is None:
        return ""
    scaled = value * SCALES[unit]
    decimals = 0 if not unit or abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:.{decimals}f} {unit}".strip()


def ratio(value: Optional[float]) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value >= 0.1 or value <= 0 else f"1/{1 / value:.0f}"


def verdict(limit, met: Optional[bool], yes: str, no: str) -> str:
    if limit is None:
        return ""
    return "not measured" if met is None else yes if met else no
