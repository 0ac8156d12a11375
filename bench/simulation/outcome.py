"""From a simulation to the logs of a run, so that everything after them is the same code."""

from dataclasses import dataclass
from math import inf

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.simulation.record import Simulation
from results.run.logs import STALLS, TELEMETRY, RunLogs
from results.statistics.ranks import nearest_rank

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Endings:
    """How each of N requests ended.

    Attributes:
        batch: its batch, -1 where it was in none, `[N]`.
        ended_s: when, `[N]`.
        rejected, expired: which ended so, bool `[N]`; all others ended ok.
    """

    batch: Ints
    ended_s: Floats
    rejected: NDArray[np.bool_]
    expired: NDArray[np.bool_]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which were answered, `[N]`."""
        return self.batch >= 0


def endings(run: Simulation, arrival_s: Floats) -> Endings:
    """Work out each request's ending from the batches and ranges of a simulation."""
    count = len(arrival_s)
    ids = np.arange(count) if run.accepted is None else np.frombuffer(run.accepted, np.int64)
    size = np.frombuffer(run.size, np.int32).astype(np.int64)
    first = np.frombuffer(run.first, np.int64)
    members = np.repeat(first - (np.cumsum(size) - size), size) + np.arange(size.sum())
    batch = np.full(count, -1, dtype=np.int64)
    batch[ids[members]] = np.repeat(np.arange(len(size)), size)
    ended_s = np.full(count, np.nan)
    ended_s[ids[members]] = np.repeat(np.frombuffer(run.delivered_s), size)
    rejected = np.zeros(count, dtype=np.bool_)
    for start, stop in run.rejected:
        rejected[start:stop] = True
    ended_s[rejected] = arrival_s[rejected]
    expired = np.zeros(count, dtype=np.bool_)
    for start, stop, at_s in run.expired:
        expired[ids[start:stop]] = True
        ended_s[ids[start:stop]] = at_s
    return Endings(batch, ended_s, rejected, expired)


def simulation_logs(run: Simulation, arrival_s: Floats, max_batch_size: int) -> RunLogs:
    """The four logs of a simulation; nothing was sampled, so two of them are empty."""
    ended = endings(run, arrival_s)
    answered = ended.ok
    status = np.full(len(arrival_s), "ok", dtype=object)
    status[ended.rejected] = "rejected"
    status[ended.expired] = "expired"
    requests = {
        "request": np.arange(len(arrival_s)),
        "scheduled_s": arrival_s,
        "enqueued_s": arrival_s,
        "first_failed_s": np.full(len(arrival_s), np.nan),
        "ended_s": ended.ended_s,
        "status": status,
        "batch": ended.batch,
        "attempts": answered.astype(np.int16),
    }
    for name in ("taken_s", "staged_s", "started_s", "completed_s"):
        column = np.full(len(arrival_s), np.nan)
        column[answered] = np.frombuffer(getattr(run, name))[ended.batch[answered]]
        requests[name] = column
    size = np.frombuffer(run.size, np.int32)
    unknown = np.full(len(size), np.nan)
    batches = {
        "batch": np.arange(len(size)),
        "worker": np.frombuffer(run.worker, np.int16),
        "size": size,
        "limit": np.full(len(size), max_batch_size),
        "weight": size.astype(np.int64),
        "reason": np.array(run.reason, dtype=object),
        **{
            name: np.frombuffer(getattr(run, name))
            for name in (
                "oldest_s", "taken_s", "staged_s", "started_s", "completed_s", "delivered_s",
                "freed_s",
            )
        },
        "real_elements": unknown,
        "padded_elements": unknown,
        "device_s": unknown,
        "ok": np.ones(len(size), dtype=np.bool_),
    }  # fmt: skip
    return RunLogs(
        requests=pd.DataFrame(requests),
        batches=pd.DataFrame(batches),
        telemetry=TELEMETRY.empty(),
        stalls=STALLS.empty(),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One setting under one trace.

    Attributes:
        requests: requests scheduled inside the window.
        ok: those of them that were answered.
        latency_s: of the answered, in order of arrival, `[ok]`.
        throughput_rps: answers inside the window, per second.
        mean_batch_size: of the batches taken inside the window; nan if none was.
        busy_fraction: share of the window in which a worker executed, mean over the workers.
        device_s_per_request: execution time of all workers / answers, inside the window.
        backlog_s: how long after the window's end its last request ended.
    """

    requests: int
    ok: int
    latency_s: Floats
    throughput_rps: float
    mean_batch_size: float
    busy_fraction: float
    device_s_per_request: float
    backlog_s: float

    def percentile_s(self, share: float) -> float:
        """Latency by nearest rank over all requests: one that got no answer took for ever."""
        if not self.requests:
            return inf
        return ranked(self.latency_s, nearest_rank(share, self.requests))

    @property
    def mean_s(self) -> float:
        """Mean latency of the answered; infinite if there is none, or somebody got no answer."""
        return float(self.latency_s.mean()) if self.ok == self.requests > 0 else inf

    def within(self, limit_s: float) -> int:
        """How many were answered within a limit."""
        return int(np.count_nonzero(self.latency_s <= limit_s))


def ranked(values: Floats, rank: int) -> float:
    """The value of that rank, from 1, in ascending order; infinite beyond the last."""
    return float(np.partition(values, rank - 1)[rank - 1]) if rank <= len(values) else inf


def outcome(run: Simulation, arrival_s: Floats, window_s: float, *, replicas: int = 1) -> Outcome:
    """Compute the numbers of a simulation over its window [0, window_s)."""
    inside = int(np.searchsorted(arrival_s, window_s))
    if run.accepted is None and not run.expired:  # all are answered, batch by batch
        ended_s = np.repeat(np.frombuffer(run.delivered_s), np.frombuffer(run.size, np.int32))
        answered: NDArray[np.bool_] | slice = slice(None)
    else:
        ended = endings(run, arrival_s)
        ended_s, answered = ended.ended_s, ended.ok
    completed = int(np.count_nonzero(ended_s[answered] < window_s))
    latency_s = (ended_s - arrival_s)[:inside]
    if isinstance(answered, np.ndarray):
        latency_s = latency_s[answered[:inside]]
    taken = np.frombuffer(run.taken_s) < window_s
    sizes = np.frombuffer(run.size, np.int32)[taken]
    started_s = np.minimum(np.frombuffer(run.started_s), window_s)
    busy_s = float((np.minimum(np.frombuffer(run.completed_s), window_s) - started_s).sum())
    return Outcome(
        requests=inside,
        ok=len(latency_s),
        latency_s=latency_s,
        throughput_rps=completed / window_s,
        mean_batch_size=float(sizes.mean()) if len(sizes) else float("nan"),
        busy_fraction=busy_s / (replicas * window_s),
        device_s_per_request=busy_s / completed if completed else inf,
        backlog_s=max(0.0, float(np.nanmax(ended_s[:inside], initial=0.0)) - window_s),
    )
