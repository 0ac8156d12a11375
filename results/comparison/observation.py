"""What a comparison keeps of one run of one arm."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from results import format as fmt
from results.arrays import FloatArray
from results.errors import InvalidInputError
from results.run.breakdown import PARTS
from results.run.logs import floats, has_status, inside
from results.run.metrics import Metrics, latencies, percentile
from results.run.record import Run
from results.run.validity import Finding, FindingCode


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric.

    Args:
        name: Its short name, as `--metric` takes it.
        key: Its key in run.json, dotted, which `--metric` takes too.
        label: What people call it.
        direction: +1 where more is better, -1 where less is, 0 where neither.
        show: A value in words.
        per_mille: Of a percentile of latency, which one.
    """

    name: str
    key: str
    label: str
    direction: int
    show: Callable[[float | None], str]
    per_mille: int | None = None

    @property
    def is_latency(self) -> bool:
        """Whether it means nothing when the load was more than the arm could serve."""
        return self.key.startswith("latency_s.")


def _percentile(name: str, per_mille: int) -> ComparedMetric:
    key = f"latency_s.{name}"
    label = f"{name.replace('_', '.')} latency"
    return ComparedMetric(name, key, label, -1, fmt.duration, per_mille)


_ALL = (
    _percentile("p50", 500),
    _percentile("p90", 900),
    _percentile("p95", 950),
    _percentile("p99", 990),
    _percentile("p99_9", 999),
    ComparedMetric("mean", "latency_s.mean", "mean latency", -1, fmt.duration),
    ComparedMetric("throughput", "throughput_rps", "throughput", 1, fmt.rate),
    ComparedMetric("goodput", "goodput_rps", "goodput", 1, fmt.rate),
    ComparedMetric(
        "device_time", "device.busy_s_per_request", "device time a request", -1, fmt.duration
    ),
    ComparedMetric("batch_size", "batch.mean_size", "mean batch size", 0, fmt.number),
)


METRICS = {metric.name: metric for metric in _ALL}


SHOWN = ("p50", "p90", "p99", "mean", "throughput", "device_time", "batch_size")


"""What is reported beside the judged metric; goodput is added where there is an SLO."""


PAIR_NOISE = 0.13


"""The noise of a pair expected before there is one: the standard deviation of its log ratio of p99,
for draws of 10 s of a bursty trace."""


PAIR_NOISE_LENGTH_S = 10.0


def metric_named(name: str) -> ComparedMetric:
    """Return the metric of that short name or key of run.json.

    Raises:
        InvalidInputError: There is none.
    """
    for metric in _ALL:
        if name in (metric.name, metric.key):
            return metric
    raise InvalidInputError(f"metric must be one of {', '.join(METRICS)}, but got {name!r}")


def expected_noise(metric: ComparedMetric, window_s: float) -> float | None:
    """Return the noise of a pair to plan with before there are any; None where nothing is known.

    `PAIR_NOISE` was seen for p99; it is used for every latency, for which it is rather too large.
    It shrinks with the square root of a draw's length, as noise that is independent over time does.
    """
    if not metric.is_latency:
        return None
    return PAIR_NOISE * math.sqrt(PAIR_NOISE_LENGTH_S / window_s)


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
