"""The recommended setting under other traffic: less and more of it, calmer and burstier.

A calmer or burstier version of a draw is the draw with its gaps raised to a power, which keeps the
number of requests and so the load (`workloads.operations.burstiness`), for processes and recordings
alike. How bursty either is, is said by two numbers, means over the draws: the coefficient of
variation of the gaps, and the index of dispersion of the counts in windows of a fiftieth of a draw,
the variance of a count over its mean; both are 1 for a Poisson process.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from bench.settings import BatcherSettings
from bench.tuning.search.objectives import Limit
from bench.tuning.search.selection import simulated_metrics
from bench.tuning.simulated.simulator import Simulator, Traffic
from results.tuning.record import Burstiness, Case
from workloads import ResolvedTrace
from workloads.statistics import at_span

LOADS = (0.8, 1.2)
CONTRASTS = {"calmer": 0.75, "burstier": 4.0 / 3.0}
_PARTS = 50


def at_other_traffic(
    settings: BatcherSettings, simulator: Simulator, limit: Limit | None
) -> tuple[Case, ...]:
    """The setting with a fifth less and more load, and with calmer and burstier arrivals."""

    def under(case: str, traffic: Traffic, **how: Any) -> Case:
        other = replace(simulator, traffic=traffic)
        if how:
            how |= {"before": before, "after": burstiness(other.draws)}
        metrics = simulated_metrics(other.evidence(settings), limit)
        return Case(case=case, metrics=metrics, **how)

    usual, before = simulator.traffic, burstiness(simulator.draws)
    return (
        *(under(f"load x {share:g}", usual.at(share)) for share in LOADS),
        *(
            under(name, replace(usual, contrast=contrast), contrast=contrast)
            for name, contrast in CONTRASTS.items()
        ),
    )


def burstiness(draws: Sequence[ResolvedTrace]) -> Burstiness:
    """Of the arrivals in the draws' windows."""
    span_s = draws[0].window_s / _PARTS
    cvs: list[float] = []
    dispersions: list[float] = []
    for draw in draws:
        window = draw.trace.window(0.0, draw.window_s)
        counts = at_span(window, span_s)
        if isfinite(window.cv):
            cvs.append(window.cv)
        if counts is not None and counts.dispersion is not None:
            dispersions.append(counts.dispersion)
    return Burstiness(gap_cv=_mean(cvs), dispersion=_mean(dispersions), span_s=span_s)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
