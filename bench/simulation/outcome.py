"""From a simulation to the logs of a run, so that everything after them is the same code."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.simulation.engine import Simulation
from results.run.logs import STALLS, TELEMETRY, RunLogs

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
