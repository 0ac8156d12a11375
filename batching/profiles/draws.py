"""Batch times for a simulation, drawn from a profile: cheap, and as bursty as the machine was."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from batching.profiles.curve import Curve, Parts
from batching.profiles.samples import correlation_length

# Of a correlation over k batches, blocks of 10 k keep nine tenths.
_PER_CORRELATION = 10
_AT_ONCE = 4096


class Series:
    """An endless series of numbers, to be taken one by one or, its beginning, all at once.

    Args:
        chunk: draws the next part of it.
        seed: of what it draws with.
    """

    def __init__(
        self,
        chunk: Callable[[np.random.Generator], NDArray[np.float64]],
        seed: np.random.SeedSequence,
    ) -> None:
        self._chunk = chunk
        self._seed = seed

    def __iter__(self) -> Iterator[float]:
        """From its beginning, one by one."""
        rng = np.random.default_rng(self._seed)
        while True:
            yield from self._chunk(rng).tolist()

    def first(self, count: int) -> NDArray[np.float64]:
        """Its first `count`, or some more, `[N]`."""
        rng, chunks, drawn = np.random.default_rng(self._seed), [], 0
        while drawn < count:
            chunks.append(self._chunk(rng))
            drawn += len(chunks[-1])
        return np.concatenate(chunks)


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
        rng: decides where the blocks start; each series has a generator of its own that follows
            from its seed.
        together: how many consecutive ranks are replayed together; see `block_length`.
        wake_s: measured delays of a lone arrival at an idle worker.
        timer_s: how late a worker was that waited for a moment.
        turn_s: from a batch's delivery until the next was taken.

    Attributes:
        curve: as given.
        series: what is drawn, each from its beginning: ranks, wakes, timers, turns.
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
        self.curve = curve
        self._known: dict[int, Sequence[Parts]] = {}
        chunks = [_blocks(ranks, together), *map(_independent, (wake_s, timer_s, turn_s))]
        self.series = tuple(map(Series, chunks, _seeds(rng, len(chunks))))
        self._ranks, self._wakes, self._timers, self._turns = map(iter, self.series)

    def next(self, size: int) -> tuple[float, float, float]:
        """Collate, execute and deliver times of the next batch, which has `size` requests; seconds.

        Raises:
            ProfileError: the profile does not cover that size.
        """
        rows = self._known.get(size)
        if rows is None:
            rows = self._known[size] = self.curve.rows(size)
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


_Chunk = Callable[[np.random.Generator], NDArray[np.float64]]


def _seeds(rng: np.random.Generator, count: int) -> Sequence[np.random.SeedSequence]:
    return rng.bit_generator.seed_seq.spawn(count)  # type: ignore[attr-defined,no-any-return]


def _blocks(ranks: NDArray[np.float64], length: int) -> _Chunk:
    within = np.arange(length)

    def chunk(rng: np.random.Generator) -> NDArray[np.float64]:
        starts = rng.integers(len(ranks), size=-(-_AT_ONCE // length))
        chosen: NDArray[np.float64] = ranks[(starts[:, None] + within).ravel() % len(ranks)]
        return chosen

    return chunk


def _independent(values: Sequence[float]) -> _Chunk:
    pool = np.asarray(values, dtype=np.float64)

    def chunk(rng: np.random.Generator) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = pool[rng.integers(len(pool), size=_AT_ONCE)]
        return chosen

    return chunk
