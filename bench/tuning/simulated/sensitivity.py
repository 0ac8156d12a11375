"""The recommended setting under other traffic: less and more of it, calmer and burstier.

A calmer or burstier version of a draw is the draw with its gaps raised to a power, which keeps the
number of requests and so the load (`workloads.operations.burstiness`), for processes and recordings
alike. How bursty either is, is said by two numbers, means over the draws: the coefficient of
variation of the gaps, and the index of dispersion of the counts in windows of a fiftieth of a draw,
the variance of a count over its mean; both are 1 for a Poisson process.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from bench.settings import BatcherSettings
from bench.tuning.search.objectives import Limit
from bench.tuning.search.selection import facts_of
from bench.tuning.simulated.simulator import Simulator
from results import format as fmt
from workloads import ResolvedTrace
from workloads.statistics import at_span

if TYPE_CHECKING:
    from bench.tuning.findings import Findings
from bench.tuning.findings import Burstiness, Variant

LOADS = (0.8, 1.2)
CONTRASTS = {"calmer": 0.75, "burstier": 4.0 / 3.0}
_PARTS = 50


def at_other_loads(
    settings: BatcherSettings, simulator: Simulator, limit: Limit | None
) -> dict[float, dict[str, Any]]:
    """The setting with a fifth less and a fifth more load: share of the load -> facts."""
    found: dict[float, dict[str, Any]] = {}
    for share in LOADS:
        other = replace(simulator, traffic=simulator.traffic.at(share))
        found[share] = facts_of(other.evidence(settings), limit)
    return found


def at_other_burstiness(
    settings: BatcherSettings, simulator: Simulator, limit: Limit | None
) -> dict[str, Variant]:
    """The setting under a calmer and a burstier version of each draw, by that name."""
    before = burstiness(simulator.draws)
    found: dict[str, Variant] = {}
    for name, contrast in CONTRASTS.items():
        other = replace(simulator, traffic=replace(simulator.traffic, contrast=contrast))
        facts = facts_of(other.evidence(settings), limit)
        found[name] = Variant(contrast, before, burstiness(other.draws), facts)
    return found


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
    return Burstiness(_mean(cvs), _mean(dispersions), span_s)


def said(findings: "Findings", statistic: str) -> Iterator[str]:
    """What becomes of the recommended setting under other traffic, in lines for a terminal."""
    loads = [
        f"{_latency(facts, statistic)} at {share:g} x the load"
        for share, facts in findings.at_load.items()
    ]
    yield "the same setting: " + "; ".join(loads)
    for name, variant in findings.variants.items():
        yield f"{described(name, variant)}: {_latency(variant.facts, statistic)}"


def described(name: str, variant: Variant) -> str:
    """Burstier: gaps ^ 1.33, their CV 1.2 -> 1.8, dispersion of counts 3.1 -> 5.0."""
    before, after = variant.before, variant.after
    changes = [f"gaps ^ {variant.contrast:.3g}"]
    if before.gap_cv is not None and after.gap_cv is not None:
        changes.append(f"their CV {before.gap_cv:.2f} -> {after.gap_cv:.2f}")
    if before.dispersion is not None and after.dispersion is not None:
        span = fmt.duration(before.span_s)
        changes.append(
            f"dispersion of counts in {span} {before.dispersion:.2f} -> {after.dispersion:.2f}"
        )
    return f"{name} ({', '.join(changes)})"


def _latency(facts: Mapping[str, Any], statistic: str) -> str:
    value_s = facts.get(f"{statistic}_s")
    return "overload" if value_s is None else f"{statistic} {fmt.duration(value_s)}"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
