"""Queues whose truth can be known: simulated by the second, fast enough for thousands of runs."""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from workloads import Mmpp, Poisson

# Before the window: from an empty system to a stationary one.
_BEFORE_S = 10.0


@dataclass(frozen=True)
class Queue:
    """One server whose service times swell in slow phases that come at random.

    `server` is "single" (one request at a time, log-normal times of spread 0.2) or "batch" (at most
    32 at a time, timeout 0, 20 + n ms with a spread of 0.05). Slow phases last `slow_s` and come
    `calm_s` after each other, both exponential; in one everything takes `factor` times as long.
    `drift` lets service times grow by that share over the window.
    """

    server: str = "single"
    arrivals: str = "poisson"
    utilization: float = 0.7
    factor: float = 1.0
    calm_s: float = 28.0
    slow_s: float = 2.0
    drift: float = 0.0

    @property
    def rate_rps(self) -> float:
        return self.utilization * (500.0 if self.server == "single" else 32 / 0.052)

    def run(self, window_s: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrivals in the window, and the latency of each."""
        rng = np.random.default_rng(seed)
        process = Poisson() if self.arrivals == "poisson" else Mmpp(2.5, 0.1, 0.3)
        arrival_s = process.arrivals(self.rate_rps, window_s + _BEFORE_S, rng)
        edges_s, slowness = self._phases(window_s + _BEFORE_S, rng)
        serve = self._single if self.server == "single" else self._batch
        latency_s = serve(arrival_s, edges_s, slowness, window_s, rng)
        first = np.searchsorted(arrival_s, _BEFORE_S)
        return arrival_s[first:] - _BEFORE_S, latency_s[first:]

    def _phases(self, end_s, rng):
        number = int(2 * end_s / (self.calm_s + self.slow_s)) + 40
        lengths_s = np.empty(2 * number)
        lengths_s[0::2] = rng.exponential(self.calm_s, number)
        lengths_s[1::2] = rng.exponential(self.slow_s, number)
        slowness = np.tile([1.0, self.factor], number)
        if rng.random() < self.slow_s / (self.calm_s + self.slow_s):
            lengths_s, slowness = lengths_s[1:], slowness[1:]
        return np.concatenate(([0.0], np.cumsum(lengths_s))), slowness

    def _single(self, arrival_s, edges_s, slowness, window_s, rng):
        service_s = rng.lognormal(-0.02, 0.2, len(arrival_s)) / 500.0
        service_s *= slowness[np.searchsorted(edges_s, arrival_s, side="right") - 1]
        service_s *= 1.0 + self.drift * np.maximum(0.0, arrival_s - _BEFORE_S) / window_s
        total_s = np.cumsum(service_s)
        # Lindley's recursion: a busy period begins where arrival - work before it is a record.
        return total_s + np.maximum.accumulate(arrival_s - (total_s - service_s)) - arrival_s

    def _batch(self, arrival_s, edges_s, slowness, window_s, rng):
        arrivals, edges, slow = arrival_s.tolist(), edges_s.tolist(), slowness.tolist()
        noise = rng.lognormal(-0.00125, 0.05, 4096).tolist()
        free_s, first, phase = 0.0, 0, 0
        ends_s, sizes = [], []
        while first < len(arrivals):
            go_s = max(arrivals[first], free_s)
            stop = bisect_right(arrivals, go_s, first, min(len(arrivals), first + 32))
            while edges[phase + 1] < go_s:
                phase += 1
            size = stop - first
            free_s = go_s + (0.02 + 0.001 * size) * slow[phase] * noise[len(sizes) % 4096]
            ends_s.append(free_s)
            sizes.append(size)
            first = stop
        return np.repeat(ends_s, sizes) - arrival_s
