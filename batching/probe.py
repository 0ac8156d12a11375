"""A short probe of how fast a model can go here: what `--utilization` is a share of."""

from dataclasses import dataclass
from statistics import median

import numpy as np

from batching.clock import Clock
from batching.execution import Executor
from batching.request import BatchRecord

PROBE_SIZES = (1, 2, 4, 8, 16, 32)
_SAMPLES = 9
_SIZE_BUDGET_S = 0.3


@dataclass(frozen=True, slots=True)
class Probe:
    """Median batch times at a few sizes.

    Attributes:
        batch_s: batch size -> seconds from its payloads to its results.
    """

    batch_s: dict[int, float]

    @property
    def peak_rps(self) -> float:
        """The largest b/T(b) among the probed sizes, requests per second."""
        return max(size / time_s for size, time_s in self.batch_s.items())

    @property
    def peak_batch_size(self) -> int:
        """The batch size at which `peak_rps` was seen."""
        return max(self.batch_s, key=lambda size: size / self.batch_s[size])


def probe_sizes(max_batch_size: int) -> list[int]:
    """The sizes that are tried: 1, 2, 4, ... 32, and none above the largest that is asked for."""
    largest = min(max_batch_size, PROBE_SIZES[-1])
    return [*(size for size in PROBE_SIZES if size < largest), largest]


def probe(executor: Executor, clock: Clock, max_batch_size: int, *, budget_s: float = 6.0) -> Probe:
    """Time a few batch sizes in the calling thread; the model must be prepared.

    Each size is run once unmeasured, then up to nine times or 0.3 s, whichever is first. A model
    so slow that the budget runs out is judged by the sizes done by then.

    Args:
        executor: runs the model.
        clock: what it is timed by.
        max_batch_size: the largest batch that will be asked of the model, which may take no larger.
        budget_s: time for all sizes.
    """
    payload = executor.model.make_input(np.random.default_rng(0))
    began_s = clock.now()
    medians: dict[int, float] = {}
    for size in probe_sizes(max_batch_size):
        payloads = [payload] * size
        executor.execute(payloads, BatchRecord(size=size))
        samples: list[float] = []
        while len(samples) < _SAMPLES and sum(samples) < _SIZE_BUDGET_S:
            started_s = clock.now()
            executor.execute(payloads, BatchRecord(size=size))
            samples.append(clock.now() - started_s)
        medians[size] = median(samples)
        if clock.now() - began_s > budget_s:
            break
    return Probe(medians)
