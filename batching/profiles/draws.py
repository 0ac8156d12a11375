"""Batch times for a simulation, drawn from a profile: cheap, and as bursty as the machine was."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from batching.profiles.curve import Curve, Parts
from batching.profiles.samples import correlation_length

# Of a correlation over k batches, blocks of 10 k keep nine tenths.
_PER_CORRELATION = 10
_AT_ONCE = 4096


class ServiceDraws:
    """An endless series of batch times.

    What is drawn is how slow the machine was at a moment, as the *rank* of a measured batch among
    those of its own size; the answer is the time of that rank among the batches of the size asked
    for. So each size keeps its own distribution, and a slow phase, which hit whatever sizes were
    being measured then, stays a slow phase. Ranks are replayed in blocks of consecutive batches
    from random starts, the end joined to the beginning (the circular block bootstrap, Politis and
    Romano 1992); `block_length` is ten times the lag at which their autocorrelation is below 1/e.
    The series goes by batches, not by time: a phase lasts as many batches as it did back to back.

    Args:
        curve: times by batch size; of requests as the model makes them.
        ranks: of each measured batch among those of its size, in the order of time.
        rng: decides where the blocks start.
        together: how many consecutive ranks are replayed together; see `block_length`.
        wake_s: measured delays of a lone arrival at an idle worker.
        timer_s: how late a worker was that waited for a moment.
        turn_s: from a batch's delivery until the next was taken.
    """

    def __init__(
        self,
        curve: Curve,
        ranks: NDArray[np.float64],
        rng: np.random.Generator,
        *,
        together: int,
        wake_s: Sequence[float],
        timer_s: Sequence[float],
        turn_s: Sequence[float],
    ) -> None:
        self._curve = curve
        self._known: dict[int, Sequence[Parts]] = {}
        self._ranks = _blocks(ranks, together, rng)
        self._wakes = _independent(wake_s, rng)
        self._timers = _independent(timer_s, rng)
        self._turns = _independent(turn_s, rng)

    def next(self, size: int) -> tuple[float, float, float]:
        """Collate, execute and deliver times of the next batch, which has `size` requests; seconds.

        Raises:
            ProfileError: the profile does not cover that size.
        """
        rows = self._known.get(size)
        if rows is None:
            rows = self._known[size] = self._curve.rows(size)
        return rows[int(next(self._ranks) * len(rows))]

    def wake(self) -> float:
        """From a lone arrival at an idle worker until the worker looks, seconds."""
        return next(self._wakes)

    def timer(self) -> float:
        """How late a worker that waits for a moment is, seconds."""
        return next(self._timers)

    def turn(self) -> float:
        """From a batch's delivery until the worker takes the next, if one is ready, seconds."""
        return next(self._turns)


def block_length(ranks: NDArray[np.float64]) -> int:
    """How many consecutive ranks are replayed together."""
    return min(len(ranks), _PER_CORRELATION * correlation_length(ranks))


def _blocks(ranks: NDArray[np.float64], length: int, rng: np.random.Generator) -> Iterator[float]:
    within = np.arange(length)
    while True:
        starts = rng.integers(len(ranks), size=-(-_AT_ONCE // length))
        chosen = (starts[:, None] + within) % len(ranks)
        yield from ranks[chosen.ravel()].tolist()


def _independent(values: Sequence[float], rng: np.random.Generator) -> Iterator[float]:
    pool = np.asarray(values, dtype=np.float64)
    while True:
        yield from rng.choice(pool, size=_AT_ONCE).tolist()
