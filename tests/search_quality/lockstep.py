"""The `timeout` policy on one worker, thousands of runs at once: one step is a batch of each run.

`bench.simulation.engine` simulates one run, with any policy, at some microseconds a batch. The
truth that a search is judged by needs 90 settings x 300 draws, and for a capacity that at many
loads. So this is a second simulator, written from the rules and not from the engine, with arrays
over runs in place of an event queue; ten times as fast. `tests/bench/tuning/test_search_quality.py`
holds the two to the very same times.

When the worker is free at t and k requests wait, the oldest since a, a batch goes

    at t                                if k >= limit, or t >= a + timeout, or no more come
    when the limit-th arrives (+ wake)  if that is no later than a + timeout
    at a + timeout (+ timer)            else, with whatever has come by then

and if none waits, the same is asked again when the next arrives (+ wake). The end of a trace ends
every wait. A batch of b takes collate(b) + execute(b) + deliver(b), and the worker `turn` after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from bench.profiling.service_times import ExactSource

_MORE = 2048
# Of cells whose fate is known the runs are ended; to look more often costs more than it saves.
_LOOK_EVERY = 32


@dataclass
class Tracks:
    """Arrivals of several draws, end to end in one array.

    Attributes:
        draws: as they were resolved.
        series: which series of batch times each is served with, `[T]`.
    """

    draws: Sequence
    series: np.ndarray

    def __post_init__(self):
        times_s = [draw.trace.arrival_s for draw in self.draws]
        self.count = np.array([len(times) for times in times_s])
        self.start = np.concatenate(([0], np.cumsum(self.count)[:-1]))
        self.last_s = np.array([times[-1] for times in times_s])
        self.window_s = np.array([draw.window_s for draw in self.draws])
        self.requests = np.array([draw.requests for draw in self.draws])
        self.arrival_s = np.concatenate(times_s)
        # Each draw in a stretch of its own of one ascending axis, so that one search serves all.
        self.shift_s = np.arange(len(self.draws)) * 2.0 * self.last_s.max()
        self.shifted_s = np.concatenate(
            [times + shift for times, shift in zip(times_s, self.shift_s, strict=True)]
        )

    def arrived(self, track, at_s):
        """How many requests of each run's track have arrived by a time, that moment included."""
        capped = np.minimum(at_s, self.last_s[track]) + self.shift_s[track]
        return np.searchsorted(self.shifted_s, capped, side="right") - self.start[track]


def times_of(source, seeds, largest):
    """Batch times up to a size: a series for each seed."""
    return (
        Exact(source, largest)
        if isinstance(source, ExactSource)
        else Profiled(source, seeds, largest)
    )


class Exact:
    """Batch times of a formula, with nothing around them."""

    def __init__(self, source, largest):
        self._time_s = np.array([0.0, *(source.model.batch_s(b) for b in range(1, largest + 1))])

    def batch_s(self, series, number, size):
        return 0.0, self._time_s[size], 0.0

    def wake_s(self, series, number):
        return 0.0

    timer_s = turn_s = wake_s


class Profiled:
    """Batch times drawn from a profile, by series and by the number of the batch.

    What is around a batch is drawn by series of their own, so that settings that need one of them
    more often still meet the same times in the others.

    Args:
        source: the profile.
        seeds: one a series.
        largest: size of batches.
    """

    def __init__(self, source, seeds, largest):
        curve = source.profile.curve()
        rows = [curve.rows(b) for b in range(1, largest + 1)]
        self._rows = np.array([0, *map(len, rows)])
        self._parts = np.zeros((3, largest + 1, self._rows.max()))
        for size, of_size in enumerate(rows, 1):
            self._parts[:, size, : len(of_size)] = np.array(of_size).T
        ranks, wakes, timers, turns = zip(*(series_of(source, seed) for seed in seeds), strict=True)
        self._ranks = _Table(ranks)
        self.wake_s, self.timer_s, self.turn_s = _Table(wakes), _Table(timers), _Table(turns)

    def batch_s(self, series, number, size):
        row = (self._ranks(series, number) * self._rows[size]).astype(np.int64)
        return self._parts[:, size, row]


def series_of(source, seed):
    """The endless series of one draw: ranks, wakes, timers, turns; seconds but for the first."""
    made = [source.profile.draws(np.random.default_rng((seed, i))) for i in range(4)]
    return made[0]._ranks, made[1]._wakes, made[2]._timers, made[3]._turns


class _Table:
    """The n-th value of each of several series, worked out as far as was asked."""

    def __init__(self, series):
        self._series = series
        self._values = np.empty((len(series), 0))

    def __call__(self, series, number):
        while np.max(number, initial=0) >= self._values.shape[1]:
            more = [list(islice(one, _MORE)) for one in self._series]
            self._values = np.concatenate((self._values, np.array(more)), axis=1)
        return self._values[series, number]


@dataclass
class Batches:
    """Batches of many runs, those of each run in their order.

    Attributes:
        run: which it is of.
        first: index of its oldest request.
        size: how many.
        started_s, completed_s, delivered_s: of its execution, and when its answers were there.
    """

    run: np.ndarray
    first: np.ndarray
    size: np.ndarray
    started_s: np.ndarray
    completed_s: np.ndarray
    delivered_s: np.ndarray


def lockstep(times, tracks, runs, watch=None):
    """Serve each run's track to its last request.

    Args:
        times: of batches, as `times_of` makes them.
        tracks: the arrivals.
        runs: of each its track, its largest batch and its timeout in seconds, `[R]` each.
        watch: given, it is told of the batches of every step, and none are kept; now and then it is
            asked which runs, `[R]`, need not go on.
    """
    live = _Live(tracks, times, *runs)
    kept = []
    while len(live.run):
        step = live.step()
        if watch is None:
            kept.append(step)
        else:
            watch.take(step)
            if live.number % _LOOK_EVERY == 0:
                live.drop(watch.decided()[live.run])
        live.drop(live.head == live.count)
    if not kept:
        return None
    columns = zip(*(vars(step).values() for step in kept), strict=True)
    return Batches(*map(np.concatenate, columns))


class _Live:
    """The runs that are not over: where each stands."""

    _COLUMNS = ("run", "track", "series", "limit", "timeout_s", "count", "start", "last_s",
                "head", "free_s", "woken", "timed")  # fmt: skip

    def __init__(self, tracks, times, track, limit, timeout_s):
        self.tracks, self.times = tracks, times
        self.run = np.arange(len(track))
        self.track, self.limit, self.timeout_s = track, limit, timeout_s
        self.series = tracks.series[track]
        self.count, self.start = tracks.count[track], tracks.start[track]
        self.last_s = tracks.last_s[track]
        self.head = np.zeros(len(track), np.int64)
        self.free_s = np.zeros(len(track))
        # How many waits for an arrival, and for a moment, there were: each has a delay of its own.
        self.woken = np.zeros(len(track), np.int64)
        self.timed = np.zeros(len(track), np.int64)
        self.number = 0

    def drop(self, over):
        """Forget runs."""
        if over.any():
            stay = ~over
            for name in self._COLUMNS:
                setattr(self, name, getattr(self, name)[stay])

    def step(self):
        """The next batch of each."""
        now_s, arrived = self.free_s, self.tracks.arrived(self.track, self.free_s)
        idle = np.flatnonzero(arrived == self.head)
        if len(idle):
            now_s = now_s.copy()
            due_s = self._arrival_s(idle, self.head[idle]) + self._wake_s(idle)
            now_s[idle] = np.minimum(due_s, self.last_s[idle])
            arrived[idle] = self.tracks.arrived(self.track[idle], now_s[idle])
        everyone = np.arange(len(self.run))
        until_s = self._arrival_s(everyone, self.head) + self.timeout_s
        full = arrived - self.head >= self.limit
        waits = np.flatnonzero(~full & (now_s < until_s) & (now_s < self.last_s))
        if len(waits):
            now_s = now_s.copy()
            now_s[waits] = self._wait(waits, until_s[waits])
            arrived[waits] = self.tracks.arrived(self.track[waits], now_s[waits])
        size = np.minimum(arrived - self.head, self.limit)
        collate_s, execute_s, deliver_s = self.times.batch_s(self.series, self.number, size)
        started_s = now_s + collate_s
        completed_s = started_s + execute_s
        delivered_s = completed_s + deliver_s
        self.free_s = delivered_s + self.times.turn_s(self.series, self.number)
        first, self.head = self.head, self.head + size
        self.number += 1
        return Batches(self.run, first, size, started_s, completed_s, delivered_s)

    def _wait(self, runs, until_s):
        """When a wait for company is over: full, or the timeout, or the end of the trace."""
        filling = self.head[runs] + self.limit[runs] - 1
        last = self.count[runs] - 1
        fills_s = self._arrival_s(runs, np.minimum(filling, last))
        fills = (filling <= last) & (fills_s <= until_s)
        due_s = np.empty(len(runs))
        due_s[fills] = fills_s[fills] + self._wake_s(runs[fills])
        late = runs[~fills]
        due_s[~fills] = until_s[~fills] + self.times.timer_s(self.series[late], self.timed[late])
        self.timed[late] += 1
        return np.minimum(due_s, self.last_s[runs])

    def _wake_s(self, runs):
        delay_s = self.times.wake_s(self.series[runs], self.woken[runs])
        self.woken[runs] += 1
        return delay_s

    def _arrival_s(self, runs, index):
        return self.tracks.arrival_s[self.start[runs] + index]
