"""How far a prediction was off, metric by metric."""

from collections.abc import Mapping
from math import isfinite

from results import format as fmt
from results.metrics import Metrics

PREDICTED = {
    "throughput_rps": ("throughput", fmt.rate),
    "latency_s.p50": ("latency, p50", fmt.duration),
    "latency_s.p99": ("latency, p99", fmt.duration),
    "batch.mean_size": ("batch size, mean", fmt.number),
}
"""Which metrics are predicted, by their key in run.json; how each is called and shown."""


def measured(metrics: Metrics) -> dict[str, float | None]:
    """Return the metrics that are predicted, as they were measured (or simulated)."""
    return {
        "throughput_rps": metrics.throughput_rps,
        "latency_s.p50": metrics.latency_s.p50,
        "latency_s.p99": metrics.latency_s.p99,
        "batch.mean_size": metrics.batch.mean_size,
    }


def errors(predicted: Mapping[str, float | None], metrics: Metrics) -> dict[str, float | None]:
    """Return predicted / measured - 1 for each metric; None where one of the two is missing."""
    found = measured(metrics)
    return {key: _error(predicted.get(key), found[key]) for key in PREDICTED}


def _error(predicted: float | None, actual: float | None) -> float | None:
    if predicted is None or not actual or not isfinite(predicted):
        return None
    return predicted / actual - 1.0


def rows(
    predicted: Mapping[str, float | None], metrics: Metrics
) -> list[tuple[str, str, str, str]]:
    """Return name, predicted, measured and error in words, for a table."""
    found, off = measured(metrics), errors(predicted, metrics)
    return [
        (name, show(predicted.get(key)), show(found[key]), in_percent(off[key]))
        for key, (name, show) in PREDICTED.items()
    ]


def in_percent(error: float | None) -> str:
    """Return an error with its sign, as +3.1 %."""
    if error is None:
        return "unknown"
    return f"{round(100.0 * error, 1) + 0.0:+.1f} %"  # + 0.0: there is no minus nothing
