"""Which metrics are compared, which way is better, and how they are called."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from results import format as fmt
from results.errors import InvalidInputError


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
