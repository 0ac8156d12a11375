"""What a run measured: the numbers of method.md, computed from the logs alone."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from results.arrays import BoolArray, FloatArray
from results.errors import InvalidInputError
from results.run.breakdown import PARTS, breakdown
from results.run.device_metrics import DeviceMetrics, Hardware, device_metrics
from results.run.intervals import Devices
from results.run.logs import RunLogs, floats, has_status, inside
from results.statistics.ranks import nearest_rank


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Latency(_Part):
    """Latency of ok requests, ended - scheduled, in seconds; percentiles by nearest rank."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None


class Breakdown(_Part):
    """Mean time of ok requests in each part of their way, in seconds; sums to the mean latency."""

    slip: float | None = None
    forming: float | None = None
    queued: float | None = None
    collate: float | None = None
    staged: float | None = None
    execute: float | None = None
    deliver: float | None = None
    retry: float | None = None


class Spread(_Part):
    """Percentiles, by nearest rank, of a time that ought to be zero, in seconds."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class BatchMetrics(_Part):
    """The batches taken inside the window.

    `efficiency` is the mean of size / limit, `padding_efficiency` real elements / padded elements
    over all of them, `histogram` the number of batches of each size.
    """

    count: int
    mean_size: float | None = None
    efficiency: float | None = None
    padding_efficiency: float | None = None
    histogram: dict[str, int]


class Counts(_Part):
    """How the requests scheduled inside the window ended; `retried` are counted there too."""

    submitted: int
    ok: int
    rejected: int
    expired: int
    failed: int
    cancelled: int
    retried: int


class Metrics(_Part):
    """All metrics of a run; None is "not measured".

    Latencies and counts are of the requests scheduled inside the window [0, W); throughput and
    goodput count the ok completions inside it, whenever those were scheduled. `prediction_error` is
    predicted / measured - 1, where the run was predicted. `device` is of all devices together,
    `devices` of each by its name, where there are several.
    """

    offered_rps: float
    throughput_rps: float
    goodput_rps: float | None = None
    latency_s: Latency
    breakdown_s: Breakdown
    slip_s: Spread
    stall_s: Spread
    batch: BatchMetrics
    counts: Counts
    device: DeviceMetrics
    devices: dict[str, DeviceMetrics] = Field(default_factory=dict)
    prediction_error: dict[str, float | None] | None = None


def percentile(ordered: FloatArray, per_mille: int) -> float | None:
    """Return a percentile by nearest rank: the ceil(p N)-th smallest of N values.

    Args:
        ordered: The values, ascending, `[N]`.
        per_mille: p in thousandths, 1 to 1000.

    Returns:
        None if there are no values.
    """
    if not 1 <= per_mille <= 1000:
        raise InvalidInputError(f"per_mille must be within 1 and 1000, but got {per_mille}")
    if len(ordered) == 0:
        return None
    return float(ordered[nearest_rank(per_mille / 1000, len(ordered)) - 1])


def latencies(requests: pd.DataFrame) -> FloatArray:
    """Return ended - scheduled of every request, seconds `[N]`, whatever its status."""
    return floats(requests, "ended_s") - floats(requests, "scheduled_s")


def counted(requests: pd.DataFrame, window_s: float) -> BoolArray:
    """Return which requests the latency metrics are of: ok and scheduled inside the window."""
    return has_status(requests, "ok") & inside(floats(requests, "scheduled_s"), window_s)


def compute_metrics(
    logs: RunLogs,
    window_s: float,
    *,
    replicas: int = 1,
    cores: int | None = None,
    slo_latency_s: float | None = None,
    hardware: Hardware | None = None,
) -> Metrics:
    """Compute a run's metrics.

    Args:
        logs: The four logs.
        window_s: W, the length of the measured window [0, W), seconds, > 0.
        replicas: How many workers served, >= 1.
        cores: Cores of the machine; without it CPU utilisation is not measured.
        slo_latency_s: The latency limit of goodput, > 0; without it goodput is not measured.
        hardware: What is known of the devices; without it each replica counts as one of its own.

    Raises:
        InvalidInputError: An argument is out of its range.
    """
    _check(window_s, replicas, cores, slo_latency_s)
    requests = logs.requests
    latency = latencies(requests)
    answered = has_status(requests, "ok")
    scheduled_inside = inside(floats(requests, "scheduled_s"), window_s)
    completed_inside = answered & inside(floats(requests, "ended_s"), window_s)
    completed = int(completed_inside.sum())
    goodput_rps = None
    if slo_latency_s is not None:
        goodput_rps = float((completed_inside & (latency <= slo_latency_s)).sum()) / window_s
    stalls_inside = inside(floats(logs.stalls, "at_s"), window_s)
    known = hardware or Hardware(Devices.apart(replicas), cores)
    device, devices = device_metrics(logs, window_s, known, completed_inside)
    return Metrics(
        offered_rps=float(scheduled_inside.sum()) / window_s,
        throughput_rps=completed / window_s,
        goodput_rps=goodput_rps,
        latency_s=_latency(latency[answered & scheduled_inside]),
        breakdown_s=_mean_parts(logs, answered & scheduled_inside, replicas),
        slip_s=_spread(
            (floats(requests, "enqueued_s") - floats(requests, "scheduled_s"))[scheduled_inside]
        ),
        stall_s=_spread(floats(logs.stalls, "late_s")[stalls_inside]),
        batch=_batches(logs.batches, window_s),
        counts=_counts(requests[scheduled_inside]),
        device=device,
        devices=devices,
    )


def _check(window_s: float, replicas: int, cores: int | None, slo_latency_s: float | None) -> None:
    if not 0.0 < window_s < np.inf:
        raise InvalidInputError(f"window_s must be > 0, but got {window_s:g}")
    if replicas < 1:
        raise InvalidInputError(f"replicas must be >= 1, but got {replicas}")
    if cores is not None and cores < 1:
        raise InvalidInputError(f"cores must be >= 1, but got {cores}")
    if slo_latency_s is not None and not slo_latency_s > 0.0:
        raise InvalidInputError(f"slo_latency_s must be > 0, but got {slo_latency_s:g}")


def _latency(values: FloatArray) -> Latency:
    ordered = np.sort(values)
    return Latency(
        mean=_mean(ordered),
        p50=percentile(ordered, 500),
        p90=percentile(ordered, 900),
        p95=percentile(ordered, 950),
        p99=percentile(ordered, 990),
        p99_9=percentile(ordered, 999),
        max=percentile(ordered, 1000),
    )


def _spread(values: FloatArray) -> Spread:
    ordered = np.sort(values[np.isfinite(values)])
    return Spread(
        p50=percentile(ordered, 500),
        p99=percentile(ordered, 990),
        max=percentile(ordered, 1000),
    )


def _mean(values: FloatArray) -> float | None:
    measured = values[np.isfinite(values)]
    return float(measured.mean()) if len(measured) else None


def _mean_parts(logs: RunLogs, rows: BoolArray, replicas: int) -> Breakdown:
    parts = breakdown(logs.requests, logs.batches, replicas)[rows]
    return Breakdown(**{name: _mean(floats(parts, name)) for name in PARTS})


def _batches(batches: pd.DataFrame, window_s: float) -> BatchMetrics:
    taken = batches[inside(floats(batches, "taken_s"), window_s)]
    sizes = floats(taken, "size")
    real, padded = floats(taken, "real_elements"), floats(taken, "padded_elements")
    known = np.isfinite(real) & np.isfinite(padded)
    in_all = float(padded[known].sum())
    values, tally = np.unique(np.asarray(taken["size"]), return_counts=True)
    return BatchMetrics(
        count=len(taken),
        mean_size=_mean(sizes),
        efficiency=_mean(sizes / floats(taken, "limit")),
        padding_efficiency=float(real[known].sum()) / in_all if in_all > 0.0 else None,
        histogram={str(v): int(n) for v, n in zip(values, tally, strict=True)},
    )


def _counts(requests: pd.DataFrame) -> Counts:
    ended = requests["status"].value_counts()
    return Counts(
        submitted=len(requests),
        ok=int(ended.get("ok", 0)),
        rejected=int(ended.get("rejected", 0)),
        expired=int(ended.get("expired", 0)),
        failed=int(ended.get("failed", 0)),
        cancelled=int(ended.get("cancelled", 0)),
        retried=int((requests["attempts"] > 1).sum()),
    )
