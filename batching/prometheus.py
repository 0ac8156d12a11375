"""Live metrics for Prometheus; docs/live-metrics.md has them in a table.

This module alone needs prometheus-client: `pip install 'dynbatch[metrics]'`.
"""

import copy
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf, isnan
from typing import Any, Literal, NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from batching.batcher import DynamicBatcher
from batching.errors import ConfigError
from batching.request import BatchRecord, Request

# Upper bounds of histogram buckets, inclusive.
_MILLISECONDS = (0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)
SECONDS_BUCKETS = tuple(milliseconds / 1e3 for milliseconds in _MILLISECONDS)
SIZE_BUCKETS = tuple(float(2**i) for i in range(11))
EFFICIENCY_BUCKETS = tuple(i / 8 for i in range(1, 9))


class Described(NamedTuple):
    """One metric: what the table in docs/live-metrics.md says of it.

    Attributes:
        labels: besides `batcher`, which every metric has.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str

    def family(self) -> Any:
        """An empty family of samples of this metric."""
        make = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }[self.type]
        return make(self.name, self.meaning, labels=["batcher", *self.labels])


METRICS = (
    Described(
        "dynbatch_requests_total",
        "counter",
        ("outcome",),
        "requests",
        "requests that have ended: ok, rejected, expired, failed or cancelled",
    ),
    Described(
        "dynbatch_queue_depth_requests",
        "gauge",
        (),
        "requests",
        "requests that wait now, for a batch or for a retry",
    ),
    Described(
        "dynbatch_in_flight_requests",
        "gauge",
        (),
        "requests",
        "requests that a worker has in hand now",
    ),
    Described(
        "dynbatch_healthy_replicas",
        "gauge",
        (),
        "replicas",
        "workers that return from their batches",
    ),
    Described(
        "dynbatch_ready",
        "gauge",
        (),
        "0 or 1",
        "1 if requests are accepted and somebody serves them",
    ),
    Described(
        "dynbatch_request_wait_seconds",
        "histogram",
        (),
        "seconds",
        "of each request: from its enqueueing until its first batch was taken",
    ),
    Described(
        "dynbatch_batch_execution_seconds",
        "histogram",
        (),
        "seconds",
        "of each batch that ran without an error: from its start until its results were on the "
        "host",
    ),
    Described(
        "dynbatch_batch_size_requests",
        "histogram",
        (),
        "requests",
        "of each batch that the policy made: the requests in it",
    ),
    Described(
        "dynbatch_batch_efficiency_ratio",
        "histogram",
        (),
        "ratio",
        "of each batch that the policy made: its size / the largest allowed at the time",
    ),
    Described(
        "dynbatch_batches_total",
        "counter",
        ("reason",),
        "batches",
        "batches run, by why they went when they did, as the policy said; isolate: a smaller one "
        "after one had failed",
    ),
    Described(
        "dynbatch_idle_wait_seconds_total",
        "counter",
        (),
        "seconds",
        "of each batch: how long the worker that took it was free while its oldest request waited",
    ),
    Described(
        "dynbatch_idle_wait_wasted_seconds_total",
        "counter",
        (),
        "seconds",
        "the part of dynbatch_idle_wait_seconds_total after the last request had joined: it "
        "bought nothing",
    ),
    Described(
        "dynbatch_real_elements_total",
        "counter",
        (),
        "elements",
        "input elements (tokens) before padding; 0 for models that do not pad",
    ),
    Described(
        "dynbatch_padded_elements_total",
        "counter",
        (),
        "elements",
        "input elements after padding, the real ones included",
    ),
    Described(
        "dynbatch_retries_total",
        "counter",
        ("cause",),
        "attempts",
        "requests run again after a failed attempt: at once in a smaller batch (isolation), or "
        "later because the error was transient or the worker lost (retry)",
    ),
    Described(
        "dynbatch_isolation_executions_total",
        "counter",
        (),
        "executions",
        "further executions of smaller batches after one had failed or had run out of memory",
    ),
    Described(
        "dynbatch_batch_size_limit_requests",
        "gauge",
        ("worker",),
        "requests",
        "the largest batch that fits the worker's memory, as far as is known; lowered when it "
        "runs out",
    ),
    Described(
        "dynbatch_cold_start_seconds",
        "gauge",
        ("phase",),
        "seconds",
        "of the slowest replica: load, first_request (the first execution of all), warm_up; "
        "absent if not done",
    ),
)


class _Histogram:
    """Counts by bucket, and the sum."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def __copy__(self) -> "_Histogram":
        twin = _Histogram(self._bounds)
        twin._counts, twin.total = list(self._counts), self.total
        return twin

    def add(self, *values: float) -> None:
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, as Prometheus writes it, how many values are at most that."""
        bounds = map(floatToGoString, (*self._bounds, inf))
        return list(zip(bounds, accumulate(self._counts), strict=True))


class _Totals:
    """What has been seen of the batches run so far."""

    def __init__(self) -> None:
        self.wait_s = _Histogram(SECONDS_BUCKETS)
        self.execution_s = _Histogram(SECONDS_BUCKETS)
        self.size = _Histogram(SIZE_BUCKETS)
        self.efficiency = _Histogram(EFFICIENCY_BUCKETS)
        self.batches: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.idle_wait_s = 0.0
        self.wasted_s = 0.0
        self.real_elements = 0.0
        self.padded_elements = 0.0

    def __copy__(self) -> "_Totals":
        twin = _Totals()
        for name, value in vars(self).items():
            setattr(twin, name, copy.copy(value))
        return twin


class _Observer:
    """Adds up the batches of one batcher; called by its worker threads, several at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._totals = _Totals()
        self._free_since_s: dict[int, float] = {}

    def snapshot(self) -> _Totals:
        """The totals as they stand; a copy, so that a worker is held up for microseconds only."""
        with self._guard:
            return copy.copy(self._totals)

    def __call__(self, record: BatchRecord, requests: Sequence[Request]) -> None:
        if not record.ok and not any(r.batch is record and not r.done() for r in requests):
            return  # given up before it failed: its requests are another batch's, or have ended
        taken_s = record.taken_s
        waits_s = [
            taken_s - r.enqueued_s for r in requests if r.extra is None or not r.extra.attempts
        ]
        if waits_s and min(waits_s) < 0.0:
            # One slipped in between the worker's look at the clock and at the queue.
            waits_s = [max(0.0, wait_s) for wait_s in waits_s]
        with self._guard:
            self._add_waits(record, waits_s)
            self._add_batch(record, len(requests) - len(waits_s))

    def _add_waits(self, record: BatchRecord, waits_s: list[float]) -> None:
        """Those of the requests run for the first time: a retry did not wait for company."""
        totals, free_since_s = self._totals, record.free_since_s
        totals.wait_s.add(*waits_s)
        # Not free since an earlier batch of this worker: taken ahead, while the device was busy.
        ahead = self._free_since_s.get(record.worker) == free_since_s
        self._free_since_s[record.worker] = free_since_s
        if waits_s and not ahead:
            free_s = record.taken_s - free_since_s
            totals.idle_wait_s += min(free_s, max(waits_s))
            totals.wasted_s += min(free_s, *waits_s)

    def _add_batch(self, record: BatchRecord, again: int) -> None:
        totals, isolated = self._totals, record.reason == "isolate"
        totals.batches[record.reason] += 1
        totals.retries["isolation" if isolated else "retry"] += again
        if not isolated:
            totals.size.add(record.size)
            totals.efficiency.add(record.size / record.limit)
        if record.ok:
            totals.execution_s.add(record.completed_s - record.started_s)
        if not isnan(record.padded_elements):
            totals.real_elements += record.real_elements
            totals.padded_elements += record.padded_elements


class BatcherCollector(Collector):
    """What a batcher does, read when it is scraped: `registry.register(BatcherCollector(batcher))`.

    A registry takes one such collector; further batchers of the same process are added to it.
    Batches are counted from then on, requests from the batcher's own beginning.

    Args:
        batcher: it may be started later.
        name: the value of the label `batcher`.
    """

    def __init__(self, batcher: DynamicBatcher, *, name: str = "default") -> None:
        self._watched: dict[str, tuple[DynamicBatcher, _Observer]] = {}
        self.add(batcher, name=name)

    def add(self, batcher: DynamicBatcher, *, name: str) -> None:
        """Watch a further batcher.

        Raises:
            ConfigError: the name is taken.
        """
        if name in self._watched:
            raise ConfigError(f"name must be one not yet used, but got {name!r} again")
        observer = _Observer()
        self._watched[name] = batcher, observer
        batcher.add_observer(observer)

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples; by them a registry notices that two collectors clash."""
        return [metric.family() for metric in METRICS]

    def collect(self) -> Iterable[Metric]:
        """The metrics with their present values."""
        families = {metric.name: metric.family() for metric in METRICS}
        for name, (batcher, observer) in list(self._watched.items()):
            for metric, labels, value in _samples(batcher, observer.snapshot()):
                family = families[f"dynbatch_{metric}"]
                if isinstance(value, _Histogram):
                    family.add_metric([name, *labels], value.cumulative(), value.total)
                else:
                    family.add_metric([name, *labels], value)
        return families.values()


_Sample = tuple[str, tuple[str, ...], float | _Histogram]


def _samples(batcher: DynamicBatcher, totals: _Totals) -> Iterator[_Sample]:
    """Name (without its beginning), labels and value of every sample."""
    counts, cold = batcher.statistics(), batcher.cold_start
    for outcome in ("ok", "rejected", "expired", "failed", "cancelled"):
        yield "requests_total", (outcome,), getattr(counts, outcome)
    yield "queue_depth_requests", (), counts.queue_depth
    yield "in_flight_requests", (), counts.in_flight
    yield "healthy_replicas", (), counts.healthy_replicas
    yield "ready", (), batcher.ready
    yield "request_wait_seconds", (), totals.wait_s
    yield "batch_execution_seconds", (), totals.execution_s
    yield "batch_size_requests", (), totals.size
    yield "batch_efficiency_ratio", (), totals.efficiency
    for reason, number in totals.batches.items():
        yield "batches_total", (reason,), number
    yield "idle_wait_seconds_total", (), totals.idle_wait_s
    yield "idle_wait_wasted_seconds_total", (), totals.wasted_s
    yield "real_elements_total", (), totals.real_elements
    yield "padded_elements_total", (), totals.padded_elements
    for cause in ("isolation", "retry"):
        yield "retries_total", (cause,), totals.retries[cause]
    yield "isolation_executions_total", (), totals.batches["isolate"]
    for worker, limit in enumerate(counts.size_limits):
        yield "batch_size_limit_requests", (str(worker),), limit
    for phase in ("load", "first_request", "warm_up"):
        seconds = getattr(cold, f"{phase}_s")
        if not isnan(seconds):
            yield "cold_start_seconds", (phase,), seconds
