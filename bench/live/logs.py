"""From what the batcher and the client recorded to the columns that `results` keeps."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from batching import BatchRecord, Request

_BATCH_TIMES = (
    "oldest_s",
    "taken_s",
    "staged_s",
    "started_s",
    "completed_s",
    "delivered_s",
    "freed_s",
)
_BATCH_COLUMNS = tuple(name for name in BatchRecord.__slots__ if name != "free_since_s")
_REQUEST_TIMES = ("taken_s", "staged_s", "started_s", "completed_s")


def request_log(
    requests: Sequence[Request],
    arrival_s: Sequence[float],
    start_s: float,
    ended_s: Mapping[int, float],
    cut_s: float,
) -> pd.DataFrame:
    """One row a request sent, times relative to the window's start.

    Args:
        requests: in order of their schedule.
        arrival_s: when each was due, seconds after `start_s`.
        start_s: the window's start, seconds of the clock.
        ended_s: ending times that the callers took themselves, by request.
        cut_s: the moment the log was cut; a request that has no ending by then is written as
            cancelled at that moment.
    """
    count = len(requests)
    times = {name: np.full(count, np.nan) for name in ("enqueued_s", *_REQUEST_TIMES, "ended_s")}
    first_failed_s = np.full(count, np.nan)
    statuses: list[str] = []
    batches = np.full(count, -1, dtype=np.int64)
    attempts = np.zeros(count, dtype=np.int16)
    for i, request in enumerate(requests):
        times["enqueued_s"][i] = request.enqueued_s
        attempts[i] = request.attempts
        first_failed_s[i] = request.first_failed_s
        end_s = request.ended_s
        if (batch := request.batch) is not None:
            batches[i] = batch.batch
            for name in _REQUEST_TIMES:
                times[name][i] = getattr(batch, name)
            end_s = batch.delivered_s if isnan(end_s) else end_s
        statuses.append(request.status if request.done() else "cancelled")
        times["ended_s"][i] = ended_s.get(i, end_s) if request.done() else cut_s
    columns: dict[str, Any] = {
        "request": np.arange(count, dtype=np.int64),
        "scheduled_s": np.asarray(arrival_s[:count], dtype=np.float64),
        **{name: column - start_s for name, column in times.items()},
        "first_failed_s": first_failed_s - start_s,
        "status": statuses,
        "batch": batches,
        "attempts": attempts,
    }
    return pd.DataFrame(columns)


def batch_log(batches: Sequence[BatchRecord], start_s: float) -> pd.DataFrame:
    """One row a batch, times relative to the window's start."""
    columns: dict[str, Any] = {
        name: [getattr(batch, name) for batch in batches] for name in _BATCH_COLUMNS
    }
    for name in _BATCH_TIMES:
        columns[name] = np.asarray(columns[name], dtype=np.float64) - start_s
    return pd.DataFrame(columns)
