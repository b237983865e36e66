"""Medians, ratios and verdicts: what the samples say about the promises."""

import statistics
from dataclasses import dataclass
from typing import Optional

from harness.promises import Metric, Row


@dataclass(frozen=True)
class Result:
    """One figure of one row, judged."""

    row: str
    metric: Metric
    medians: dict  # side → median of all samples
    samples: dict  # side → one list per round
    spread: Optional[tuple]  # least and greatest of the rounds' ratios to the reference
    kept: Optional[bool]
    reached: Optional[bool]

    def ratio(self, side: str) -> Optional[float]:
        """Ours to `side`; None where either was not measured."""
        if not self.medians.get(side) or "ours" not in self.medians:
            return None
        return self.medians["ours"] / self.medians[side]


def judge(rows: list, samples: dict) -> list:
    """One result per figure, in the rows' order."""
    return [judged(row, metric, samples) for row in rows for metric in row.metrics]


def judged(row: Row, metric: Metric, samples: dict) -> Result:
    reported = {side: samples.get((row.name, side), {}) for side in row.sides}
    measured = {side: rounds[metric.key] for side, rounds in reported.items() if metric.key in rounds}
    medians = {side: statistics.median(flat(rounds)) for side, rounds in measured.items()}
    ours, peer, floor = (medians.get(side) for side in ("ours", "peer", "floor"))

    def verdict(limit):
        return None if limit is None or ours is None else limit.met(ours, peer, floor)

    return Result(row.name, metric, medians, measured, spread(measured), verdict(metric.promise), verdict(metric.aim))


def spread(measured: dict) -> Optional[tuple]:
    """How far single rounds lie apart: the least and greatest of their ratios, to the peer or else the floor."""
    reference = "peer" if "peer" in measured else "floor"
    if "ours" not in measured or reference not in measured:
        return None
    pairs = [
        (statistics.median(ours), statistics.median(theirs))
        for ours, theirs in zip(measured["ours"], measured[reference])
    ]
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return (min(ratios), max(ratios)) if ratios else None


def flat(rounds: list) -> list:
    return [value for repeats in rounds for value in repeats]


def summary(results: list) -> str:
    """How many promises were kept, in one line."""
    promised = [result for result in results if result.metric.promise]
    kept = sum(1 for result in promised if result.kept)
    missed = sum(1 for result in promised if result.kept is False)
    return f"{kept} of {len(promised)} promises kept, {missed} missed, {len(promised) - kept - missed} not measured."
