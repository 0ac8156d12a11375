"""How far a prediction was off, metric by metric."""

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from results import format as fmt
from results.run.metrics import Metrics

if TYPE_CHECKING:
    from results.run.record import Run
from dataclasses import dataclass

PREDICTED = {
    "throughput_rps": ("throughput", fmt.rate),
    "latency_s.p50": ("latency, p50", fmt.duration),
    "latency_s.p99": ("latency, p99", fmt.duration),
    "batch.mean_size": ("batch size, mean", fmt.number),
}
"""Which metrics are predicted, by their key in run.json; how each is called and shown."""


EXECUTION = "batch execution, same sizes"


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


class Execution(NamedTuple):
    """How long batches had the device on average, seconds: as profiled, and in the run."""

    profiled_s: float
    measured_s: float


def execution(
    profiled_s: Mapping[int, float] | None, batches: pd.DataFrame, window_s: float
) -> Execution | None:
    """Compare the batches of a run with what the profile gives batches of the same sizes.

    A simulation whose batches are formed as in the run is still off by as much as the device has
    become faster or slower since it was profiled.

    Args:
        profiled_s: The profile's mean execution time by batch size, seconds.
        batches: The batch log; those that were taken inside the window and did not fail count.
        window_s: The length of the window.

    Returns:
        None if there is no profile, or no batch.
    """
    if not profiled_s:
        return None
    counted = batches[batches["ok"] & batches["taken_s"].between(0.0, window_s, inclusive="left")]
    expected_s = counted["size"].map(profiled_s)
    measured_s = (counted["completed_s"] - counted["started_s"])[expected_s.notna()]
    if measured_s.empty:
        return None
    return Execution(float(expected_s.mean()), float(measured_s.mean()))


def _error(predicted: float | None, actual: float | None) -> float | None:
    if predicted is None or not actual or not isfinite(predicted):
        return None
    return predicted / actual - 1.0


def rows(
    predicted: Mapping[str, float | None], metrics: Metrics, executed: Execution | None = None
) -> list[tuple[str, str, str, str]]:
    """Return name, predicted, measured and error in words, for a table."""
    found, off = measured(metrics), errors(predicted, metrics)
    table = [
        (name, show(predicted.get(key)), show(found[key]), in_percent(off[key]))
        for key, (name, show) in PREDICTED.items()
    ]
    if executed is not None:
        profiled, found_s = map(fmt.duration, executed)
        table.append((EXECUTION, profiled, found_s, in_percent(_error(*executed))))
    return table


def rows_of(run: "Run") -> list[tuple[str, str, str, str]]:
    """Return the table of a run; nothing if it was not predicted."""
    record = run.record
    if record.prediction is None:
        return []
    executed = execution(record.profiled_execute_s, run.logs.batches, record.window_s)
    return rows(record.prediction, run.metrics, executed)


def in_percent(error: float | None) -> str:
    """Return an error with its sign, as +3.1 %."""
    if error is None:
        return "unknown"
    return f"{round(100.0 * error, 1) + 0.0:+.1f} %"  # + 0.0: there is no minus nothing


# Key of a bound, what it is of, and which policies it binds.
_BOUNDS = (
    ("p50_s", "p50", "that keeps the order of arrival"),
    ("p99_s", "p99", "that keeps the order of arrival"),
    ("mean_s", "mean", "at all"),
)


@dataclass(frozen=True, slots=True)
class Gap:
    """One latency and the least it can be.

    Args:
        name: p50, p99 or mean.
        actual_s: What it was, seconds.
        least_s: What it is at least, seconds, > 0.
        policies: Which policies cannot beat that, e.g. "at all".
    """

    name: str
    actual_s: float
    least_s: float
    policies: str

    @property
    def times(self) -> float:
        """How many times the least it was; below 1 where batches were faster than the profile."""
        return self.actual_s / self.least_s


def gaps(bounds: Mapping[str, float] | None, metrics: Metrics) -> list[Gap]:
    """Return how far latencies are from their bounds; nothing where the bounds do not hold.

    They hold where every request was answered: who turns requests away can be faster.

    Args:
        bounds: What run.json has of them; None for a run without.
        metrics: The run's.
    """
    counts = metrics.counts
    if bounds is None or counts.ok < counts.submitted:
        return []
    found = []
    for key, name, policies in _BOUNDS:
        actual_s, least_s = getattr(metrics.latency_s, name), bounds.get(key)
        if actual_s is not None and least_s:
            found.append(Gap(name, actual_s, least_s, policies))
    return found


def sentence(found: list[Gap]) -> str:
    """Return the gaps in words: "p99 is 1.58 x 9.1 ms, the least of any policy that ..."."""
    by_policies: dict[str, list[str]] = {}
    for gap in found:
        text = f"{gap.name} is {fmt.number(gap.times)} x {fmt.duration(gap.least_s)}"
        by_policies.setdefault(gap.policies, []).append(text)
    return "; ".join(
        f"{', '.join(texts)}, the least of any policy {policies}"
        for policies, texts in by_policies.items()
    )
