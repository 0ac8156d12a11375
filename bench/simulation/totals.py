"""The numbers of a simulation that searches need, without writing logs first.

They are those of `results.run.metrics`, which `tests/bench/test_simulation.py` holds them to.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from bench.simulation.engine import Simulation
from bench.simulation.outcome import Floats, endings


@dataclass(frozen=True, slots=True)
class Outcome:
    """One setting under one trace.

    Attributes:
        requests: requests scheduled inside the window.
        ok: those of them that were answered.
        latency_s: of the answered, ascending, `[ok]`.
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
        rank = -(-round(share * 1_000_000) * self.requests // 1_000_000)
        return float(self.latency_s[rank - 1]) if rank <= self.ok else inf

    @property
    def mean_s(self) -> float:
        """Mean latency of the answered; infinite if there is none, or somebody got no answer."""
        return float(self.latency_s.mean()) if self.ok == self.requests > 0 else inf

    def within(self, limit_s: float) -> int:
        """How many were answered within a limit."""
        return int(np.searchsorted(self.latency_s, limit_s, side="right"))


def outcome(run: Simulation, arrival_s: Floats, window_s: float, *, replicas: int = 1) -> Outcome:
    """Compute the numbers of a simulation over its window [0, window_s)."""
    ended = endings(run, arrival_s)
    inside = arrival_s < window_s
    answered = ended.ok
    latency_s = np.sort((ended.ended_s - arrival_s)[answered & inside])
    completed = int((answered & (ended.ended_s < window_s)).sum())
    taken = np.frombuffer(run.taken_s) < window_s
    sizes = np.frombuffer(run.size, np.int32)[taken]
    started_s = np.minimum(np.frombuffer(run.started_s), window_s)
    busy_s = float((np.minimum(np.frombuffer(run.completed_s), window_s) - started_s).sum())
    return Outcome(
        requests=int(inside.sum()),
        ok=len(latency_s),
        latency_s=latency_s,
        throughput_rps=completed / window_s,
        mean_batch_size=float(sizes.mean()) if len(sizes) else float("nan"),
        busy_fraction=busy_s / (replicas * window_s),
        device_s_per_request=busy_s / completed if completed else inf,
        backlog_s=max(0.0, float(np.nanmax(ended.ended_s[inside], initial=0.0)) - window_s),
    )
