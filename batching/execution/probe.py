"""A short probe of how fast a model can go here: what `--utilization` is a share of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from typing import Any

import numpy as np

from batching.clock import Clock
from batching.execution.executor import Executor
from batching.profiles.rig import Rig

PROBE_SIZES = (1, 2, 4, 8, 16, 32)
_SAMPLES = 9
_SIZE_BUDGET_S = 0.3
# Above this rate submitting takes a share of the time that counts: so many batches show how much.
_FAST_RPS = 5_000.0
_BATCHES_IN_A_ROW = 512
_REQUESTS_IN_A_ROW = _BATCHES_IN_A_ROW * PROBE_SIZES[-1]


@dataclass(frozen=True, slots=True)
class Probe:
    """Median batch times at a few sizes, as the batcher's own worker serves them.

    Attributes:
        batch_s: batch size -> seconds from its first payload's submission to its results.
        sustained_rps: what the batcher got done of a row of batches of the best size, submitted
            while it served them; infinite where no model is so fast that this could be less.
    """

    batch_s: dict[int, float]
    sustained_rps: float = inf

    @property
    def peak_rps(self) -> float:
        """The largest b/T(b) among the probed sizes, as far as the batcher keeps up with it."""
        size = self.peak_batch_size
        return min(size / self.batch_s[size], self.sustained_rps)

    @property
    def peak_batch_size(self) -> int:
        """The batch size at which `peak_rps` was seen."""
        return max(self.batch_s, key=lambda size: size / self.batch_s[size])


def probe_sizes(max_batch_size: int) -> list[int]:
    """The sizes that are tried: 1, 2, 4, ... 32, and none above the largest that is asked for."""
    largest = min(max_batch_size, PROBE_SIZES[-1])
    return [*(size for size in PROBE_SIZES if size < largest), largest]


def probe(executor: Executor, clock: Clock, max_batch_size: int, *, budget_s: float = 6.0) -> Probe:
    """Time a few batch sizes through a batcher; the model must be prepared.

    A batch's time has in it what the worker needs beside the model, and what it costs to submit
    each request: of a cheap model that, and not the model, is what limits the rate.

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
    sizes = probe_sizes(max_batch_size)
    rig = Rig(executor, sizes[-1], clock)
    rig.start()
    try:
        for size in sizes:
            payloads = [payload] * size
            rig.run(payloads)
            samples: list[float] = []
            while len(samples) < _SAMPLES and sum(samples) < _SIZE_BUDGET_S:
                started_s = clock.now()
                batch, _ = rig.run(payloads)
                samples.append(batch.delivered_s - started_s)
            medians[size] = median(samples)
            if clock.now() - began_s > budget_s:
                break
        found = Probe(medians)
        size = found.peak_batch_size
        if found.peak_rps > _FAST_RPS:
            found = replace(found, sustained_rps=_sustained_rps(rig, [payload] * size, clock))
    finally:
        rig.stop()
    return found


def sustained_peak_rps(executor: Executor, clock: Clock, peak_rps: float, size: int) -> float:
    """A peak that was worked out from batch times, as far as the batcher keeps up with it here.

    Args:
        executor: runs the model, which must be prepared.
        clock: what it is timed by.
        peak_rps: by the batch times, requests per second.
        size: of the batches, requests: the best, or the largest that the model may be given.
    """
    if peak_rps <= _FAST_RPS:
        return peak_rps
    payload = executor.model.make_input(np.random.default_rng(0))
    rig = Rig(executor, size, clock)
    rig.start()
    try:
        rig.run([payload] * size)
        return min(peak_rps, _sustained_rps(rig, [payload] * size, clock))
    finally:
        rig.stop()


def _sustained_rps(rig: Rig, payloads: Sequence[Any], clock: Clock) -> float:
    """Requests per second of batches that are submitted while others are served.

    Submitting and serving take turns at the interpreter, as they do in a run.
    """
    batches = min(_BATCHES_IN_A_ROW, -(-_REQUESTS_IN_A_ROW // len(payloads)))
    began_s = clock.now()
    rig.run_in_a_row(payloads, batches)
    return batches * len(payloads) / (clock.now() - began_s)
