"""A batch-service queue in exact arithmetic: makes the logs of runs that never happened.

Workers serve one first-come-first-served queue. A free worker takes a batch once `max_batch_size`
requests wait or the oldest has waited `timeout_s`; a batch of b takes `base_s + b * per_request_s`.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.arrays import FloatArray
from results.run.logs import STALLS, TELEMETRY, RunLogs


@dataclass(frozen=True)
class Server:
    base_s: float = 0.002
    per_request_s: float = 0.0001
    max_batch_size: int = 32
    timeout_s: float = 0.0
    workers: int = 1
    max_queue: int = 10**9

    @property
    def peak_rps(self) -> float:
        batch = self.max_batch_size
        return self.workers * batch / (self.base_s + batch * self.per_request_s)


def poisson(rate_rps: float, end_s: float, rng: np.random.Generator) -> FloatArray:
    gaps = rng.exponential(1.0 / rate_rps, int(rate_rps * end_s * 1.2) + 100)
    arrivals = np.cumsum(gaps)
    return arrivals[arrivals < end_s]


def bursty(
    rate_rps: float,
    end_s: float,
    rng: np.random.Generator,
    *,
    ratio: float = 5.0,
    quiet_s: float = 1.5,
    burst_s: float = 0.5,
) -> FloatArray:
    """Two-state MMPP of that mean rate: bursts at `ratio` times the quiet rate."""
    quiet_rps = rate_rps * (quiet_s + burst_s) / (quiet_s + ratio * burst_s)
    pieces, at, in_burst = [], 0.0, bool(rng.random() < burst_s / (quiet_s + burst_s))
    while at < end_s:
        stay = rng.exponential(burst_s if in_burst else quiet_s)
        number = rng.poisson(stay * quiet_rps * (ratio if in_burst else 1.0))
        pieces.append(at + np.sort(rng.uniform(0.0, stay, number)))
        at, in_burst = at + stay, not in_burst
    arrivals = np.concatenate(pieces)
    return arrivals[arrivals < end_s]


def serve(arrivals: FloatArray, server: Server) -> RunLogs:
    """Serve the arrivals to the last and return the logs."""
    number = len(arrivals)
    batch_of = np.full(number, -1)
    free = [0.0] * server.workers
    queue: deque[int] = deque()
    batches: list[tuple[int, int, str, float, float, float]] = []
    coming = 0
    while queue or coming < number:
        if not queue:
            queue.append(coming)
            coming += 1
        worker = free.index(min(free))
        oldest = arrivals[queue[0]]
        filled = coming + server.max_batch_size - len(queue) - 1
        full_at = arrivals[filled] if filled < number else np.inf
        full_at = oldest if filled < coming else full_at
        go = max(free[worker], min(full_at, oldest + server.timeout_s))
        while coming < number and arrivals[coming] <= go:
            if len(queue) < server.max_queue:
                queue.append(coming)
            coming += 1
        members = [queue.popleft() for _ in range(min(len(queue), server.max_batch_size))]
        batch_of[members] = len(batches)
        end = go + server.base_s + len(members) * server.per_request_s
        reason = "full" if len(members) == server.max_batch_size else "timeout"
        batches.append((worker, len(members), reason, oldest, go, end))
        free[worker] = end
    return _logs(arrivals, batch_of, batches, server)


def _logs(
    arrivals: FloatArray,
    batch_of: np.ndarray,
    batches: list[tuple[int, int, str, float, float, float]],
    server: Server,
) -> RunLogs:
    frame = pd.DataFrame(
        batches, columns=["worker", "size", "reason", "oldest_s", "taken_s", "end"]
    )
    copy_s = 0.1 * server.base_s
    frame["batch"] = np.arange(len(frame))
    frame["limit"] = server.max_batch_size
    frame["weight"] = frame["size"]
    frame["staged_s"] = frame["taken_s"] + copy_s
    frame["started_s"] = frame["staged_s"]
    frame["completed_s"] = frame["end"] - 0.2 * copy_s
    frame["delivered_s"] = frame["end"]
    frame["freed_s"] = frame["end"]
    for name in ("real_elements", "padded_elements", "device_s"):
        frame[name] = np.nan
    frame["ok"] = True

    served = batch_of >= 0
    stamps = {
        name: np.where(served, frame[name].to_numpy()[batch_of], np.nan)
        for name in ("taken_s", "staged_s", "started_s", "completed_s")
    }
    requests = pd.DataFrame(
        {
            "request": np.arange(len(arrivals)),
            "scheduled_s": arrivals,
            "enqueued_s": arrivals,
            "first_failed_s": np.nan,
            **stamps,
            "ended_s": np.where(served, frame["end"].to_numpy()[batch_of], arrivals),
            "status": np.where(served, "ok", "rejected"),
            "batch": batch_of,
            "attempts": served.astype(int),
        }
    )
    return RunLogs(
        requests=requests,
        batches=frame.drop(columns="end"),
        telemetry=TELEMETRY.empty(),
        stalls=STALLS.empty(),
    ).validated()
