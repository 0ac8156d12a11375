"""What a comparison keeps of one run of one arm."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from results.comparison.metrics import METRICS
from results.run.breakdown import PARTS
from results.run.logs import (
    FloatArray,
    floats,
    has_status,
    inside,
)
from results.run.metrics import Metrics, latencies, percentile
from results.run.record import Run
from results.run.validity import Finding, FindingCode

_CURVE_POINTS = 600


@dataclass(frozen=True, slots=True)
class Observation:
    """One run, reduced to what is compared and drawn.

    Args:
        values: By metric name; None where it was not measured or says nothing.
        metrics: As run.json has them.
        findings: What can be said against the run.
        sha256: The fingerprint of its arrivals; None if the run does not say.
        window_s: Length of its window, seconds.
        curve: Latencies of all its requests, ascending, and the share of requests slower than
            each, `[2, M]`; requests without an answer are slower than any.
        environment: What it ran on, as run.json has it.
    """

    values: dict[str, float | None]
    metrics: Metrics
    findings: tuple[Finding, ...]
    sha256: str | None
    window_s: float
    curve: FloatArray
    environment: dict[str, Any]

    @property
    def saturated(self) -> bool:
        """Whether the load was more than this arm could serve."""
        return any(finding.code == FindingCode.SATURATED for finding in self.findings)

    def unanswered(self, latency: str) -> bool:
        """Whether so many requests got no answer that there is no such latency."""
        counts = self.metrics.counts
        return self.values[latency] is None and counts.ok < counts.submitted

    @property
    def parts_s(self) -> dict[str, float]:
        """Where the time of an answered request went on average, seconds."""
        return {name: getattr(self.metrics.breakdown_s, name) or 0.0 for name in PARTS}


def observe(run: Run) -> Observation:
    """Reduce a run.

    Percentiles count every request scheduled in the window, one that did not end ok as infinitely
    late, so that shedding cannot buy a tail. A mean over answered requests alone would reward
    shedding too: where any is missing there is none.

    Raises:
        NotAnalysedError: The run's metrics have not been computed.
    """
    metrics = run.metrics
    every = all_latencies(run)
    flat = metrics.model_dump()
    values: dict[str, float | None] = {}
    for name, metric in METRICS.items():
        value: Any = flat
        for part in metric.key.split("."):
            value = value[part]
        if metric.per_mille is not None:
            value = percentile(every, metric.per_mille)
        elif metric.is_latency and len(every) and every[-1] == inf:
            value = None
        values[name] = None if value is None or value == inf else float(value)
    sha256 = run.record.trace.get("sha256")
    return Observation(
        values=values,
        metrics=metrics,
        findings=run.record.findings,
        sha256=sha256 if isinstance(sha256, str) else None,
        window_s=run.record.window_s,
        curve=_curve(every),
        environment=run.record.environment,
    )


def all_latencies(run: Run) -> FloatArray:
    """Return the latency of every request of the window, ascending, seconds; inf if not ok."""
    counted = inside(floats(run.requests, "scheduled_s"), run.record.window_s)
    return np.sort(latency_column(run)[counted])


def latency_column(run: Run) -> FloatArray:
    """Return ended - scheduled of every row of the request log, seconds; inf if not ok."""
    return np.where(has_status(run.requests, "ok"), latencies(run.requests), inf)


def _curve(ordered: FloatArray) -> FloatArray:
    """Return points of the survival curve: evenly over the body, dense in the tail."""
    number = len(ordered)
    if number == 0:
        return np.empty((2, 0))
    body = np.linspace(0, number - 1, _CURVE_POINTS)
    tail = number - np.geomspace(1, number, _CURVE_POINTS)
    ranks = np.unique(np.clip(np.concatenate((body, tail)), 0, number - 1).astype(np.int64))
    ranks = ranks[np.isfinite(ordered[ranks])]
    return np.stack((ordered[ranks], 1.0 - (ranks + 1) / number))
