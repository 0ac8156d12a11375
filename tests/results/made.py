"""Logs and runs written by hand: every value that a test does not care about is filled in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import settings

from results.run.analysis import analyse
from results.run.logs import (
    BATCHES,
    REQUESTS,
    STALLS,
    TELEMETRY,
    LogSchema,
    RunLogs,
)
from results.run.record import Run, RunDirectory, RunRecord
from tests.results.queues import Server, bursty, poisson, serve

Rows = Sequence[dict[str, Any]]

# Property tests draw the same examples each time, and a busy machine does not fail them.
same_draws = settings(derandomize=True, deadline=None)

_REQUEST = {"status": "ok", "batch": -1, "attempts": 1, "scheduled_s": 0.0}
_BATCH = {
    "worker": 0,
    "size": 1,
    "limit": 8,
    "weight": 1,
    "reason": "timeout",
    "ok": True,
    "taken_s": 0.0,
}


def _frame(schema: LogSchema, rows: Rows, defaults: dict[str, Any]) -> pd.DataFrame:
    if not rows:
        return schema.empty()
    key = schema.columns[0].name
    columns = [c.name for c in schema.columns if not c.optional or any(c.name in r for r in rows)]
    filled = [{key: i} | defaults | row for i, row in enumerate(rows)]
    frame = pd.DataFrame({name: [row.get(name, np.nan) for row in filled] for name in columns})
    return schema.validated(frame)


def made_logs(
    requests: Rows = (), batches: Rows = (), telemetry: Rows = (), stalls: Rows = ()
) -> RunLogs:
    return RunLogs(
        requests=_frame(REQUESTS, requests, _REQUEST),
        batches=_frame(BATCHES, batches, _BATCH),
        telemetry=_frame(TELEMETRY, telemetry, {}),
        stalls=_frame(STALLS, stalls, {}),
    )


def answered(latencies_s: Sequence[float], scheduled_s: float = 0.0) -> list[dict[str, Any]]:
    """Requests that were answered after these times and waited for nothing but the model."""
    return [
        {
            "scheduled_s": scheduled_s,
            **dict.fromkeys(("enqueued_s", "taken_s", "staged_s", "started_s"), scheduled_s),
            **dict.fromkeys(("completed_s", "ended_s"), scheduled_s + latency_s),
        }
        for latency_s in latencies_s
    ]


def served_logs(*, burst: bool = False, seconds: float = 4.0, utilization: float = 0.5) -> RunLogs:
    """The logs of a queue that serves a few thousand requests, with telemetry and stalls."""
    rng = np.random.default_rng(3)
    server = Server(base_s=0.004, per_request_s=0.0003, max_batch_size=16, timeout_s=0.003)
    arrivals = (bursty if burst else poisson)(utilization * server.peak_rps, seconds + 1.0, rng)
    logs = serve(arrivals, server)
    ticks = np.arange(0.0, seconds, 0.1)
    telemetry = [
        {"t_s": t, "process_cpu_cores": 1.0 + 0.5 * np.sin(t), "rss_bytes": 5e8} for t in ticks
    ]
    stalls = [{"at_s": t, "late_s": 1e-4 * (1 + i % 5)} for i, t in enumerate(ticks)]
    extra = made_logs(telemetry=telemetry, stalls=stalls)
    return RunLogs(logs.requests, logs.batches, extra.telemetry, extra.stalls)


def written_run(path: Path, logs: RunLogs, *, window_s: float = 4.0, **record: Any) -> Run:
    """Write a run and analyse it."""
    directory = RunDirectory.create(path)
    directory.write_logs(logs)
    directory.write_record(RunRecord(id=path.name, window_s=window_s, **record))
    return analyse(path)
