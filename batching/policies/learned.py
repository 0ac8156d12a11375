"""What policies learn from the batches that have run."""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, inf, isfinite
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from batching.policies.contract import FinishedBatch

# A size's typical time is the median of its latest batches; the spread is that of the latest
# batches of all sizes together.
_PER_SIZE = 32
_POOLED = 200
# A size that has not run for this many batches may have become faster or slower since.
_STALE_AFTER = 1000


class Executions:
    """How long batches had the device, which is less than `taken -> completed` behind another one.

    A batch taken ahead waits until the one before it on its worker has ended. Batches complete in
    the order in which they are observed, so its execution began when it was taken or when the
    worker's previous batch was completed, whichever is later.
    """

    def __init__(self) -> None:
        self._completed_s: dict[int, float] = {}

    def seconds(self, batch: FinishedBatch) -> float | None:
        """Execution time of the batch; None if it failed, and so tells nothing."""
        began_s = max(batch.taken_s, self._completed_s.get(batch.worker, -inf))
        execution_s = batch.completed_s - began_s
        if not (isfinite(execution_s) and execution_s >= 0.0):
            return None
        self._completed_s[batch.worker] = batch.completed_s
        return execution_s if batch.ok else None


@dataclass(slots=True)
class _Size:
    """The batches of one size: their latest times, the median of these, when one ran last."""

    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=_PER_SIZE))
    median_s: float = 0.0
    last_ran: int = 0


class ServiceTimes:
    """T(n), the execution time of a batch of n: a curve through medians, times a factor.

        quantile q of T(n) = typical(n) * spread(q)

    typical(n), in seconds, is the median of the latest batches of that size. It is linear between
    the sizes seen, never falls as n grows, equals that of the smallest size below it, and grows
    in proportion above the largest: more than any model takes that is worth batching.

    spread(q), at least 1, is the q quantile (nearest rank) of observed / typical over the latest
    batches of *all* sizes. A quantile of each size by itself would need a hundred batches of it,
    and could not be unlearned: a size that seems too slow is not run again.

    For the same reason a size counts only if it has run twice, and of late. Otherwise its typical
    time is no more than in proportion to the next smaller size's.

    Args:
        largest: the largest n asked for, at least 1.

    Attributes:
        q90_s, q99_s: quantiles of T(n), n from 0 to `largest`; empty until something is learned.
    """

    def __init__(self, largest: int) -> None:
        self.q90_s: list[float] = []
        self.q99_s: list[float] = []
        self._largest = largest
        self._executions = Executions()
        self._sizes: dict[int, _Size] = {}
        self._pool: deque[tuple[int, float]] = deque(maxlen=_POOLED)
        self._batches = 0

    def observe(self, batch: FinishedBatch) -> bool:
        """Learn from a batch; False if there was nothing to learn."""
        execution_s = self._executions.seconds(batch)
        if execution_s is None or not 1 <= batch.size <= self._largest:
            return False
        self._batches += 1
        size = self._sizes.setdefault(batch.size, _Size())
        size.latest_s.append(execution_s)
        size.median_s = median_low(size.latest_s)
        size.last_ran = self._batches
        self._pool.append((batch.size, execution_s))
        typical_s = self._typical()
        sizes, seconds = zip(*self._pool, strict=True)
        ratios = np.sort(np.array(seconds) / np.maximum(typical_s[list(sizes)], 1e-9))
        self.q90_s, self.q99_s = (
            (typical_s * max(1.0, ratios[ceil(q * len(ratios)) - 1])).tolist() for q in (0.9, 0.99)
        )
        return True

    def _typical(self) -> NDArray[np.float64]:
        sizes = sorted(self._sizes)
        typical_s: list[float] = []
        for i, n in enumerate(sizes):
            size = self._sizes[n]
            seconds = size.median_s
            stale = size.last_ran <= self._batches - _STALE_AFTER
            if i and (stale or len(size.latest_s) < 2):
                seconds = min(seconds, typical_s[-1] * n / sizes[i - 1])
            typical_s.append(seconds)
        # A larger batch that was faster shows what a smaller one can do.
        rising = np.minimum.accumulate(typical_s[::-1])[::-1]
        every = np.arange(self._largest + 1)
        curve = np.interp(every, sizes, rising) * np.maximum(1.0, every / sizes[-1])
        # Interpolation may fall by a rounding error, and nothing may.
        return np.asarray(np.maximum.accumulate(curve))
