"""How good settings really are: all of them on the same draws, which no search saw.

Draws come in two halves, so that what was best of a grid on one can be judged on the other.
"""

from dataclasses import dataclass, field, replace
from math import ceil, floor, inf, log

import numpy as np

from bench.profiling.service_times import ExactSource
from bench.simulation.capacity import STABLE
from bench.simulation.setup import Setup
from bench.tuning.simulated.simulator import LIMIT_DRAWS
from tests.search_quality.lockstep import Tracks, lockstep, times_of

# The seed of the truth's arrivals, beside the traffic's own; no search gets as far.
UNSEEN = 1_000_003
# A request that takes no longer than this beyond the limit is in time: what the sums of floats
# differ by, where a lone request is held for exactly what the limit leaves.
DUST_S = 1e-9
LOWEST = 0.01
_STRIDE = 4
# Requests simulated at once: a few hundred MB.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Judged:
    """One setting on some draws.

    Attributes:
        value: of the objective: seconds, or requests per second for a capacity; without one
            infinite, or 0 where more is better.
        excess: log(statistic / limit) of the SLO, 0 or less where it is met; infinite for a setting
            that cannot carry the load. 0 for a capacity, which is the load at which it is met.
    """

    value: float
    excess: float = 0.0

    @property
    def usable(self):
        """Whether it does what is asked."""
        return self.excess <= 1e-6 and 0.0 < self.value < inf


@dataclass
class Truth:
    """Settings of batch size and timeout, judged at the traffic's load, or for their capacity.

    Attributes:
        objective: what is judged.
        limit: the SLO, if there is one.
        source: batch times.
        traffic: the arrivals that were tuned for.
        draws: how many, both halves together.
        window_s: length of each.
    """

    objective: object
    limit: object
    source: object
    traffic: object
    draws: int
    window_s: float
    _kept: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.traffic = replace(self.traffic, seed=self.traffic.seed + UNSEEN)
        half = self.draws // 2
        self._halves = ((0, half), (half, self.draws - half))
        self.offered_rps = self._drawn(0, 1)[0].offered_rps

    def judge(self, settings, half, *, draws=None, near=(), step=1.0025):
        """Judge settings on a half, 0 or 1.

        Args:
            settings: of the batcher, different ones.
            half: of the draws.
            draws: only the first of them.
            near: of a capacity: the loads to begin at, one a setting.
            step: of loads, from one tried for a capacity to the next.

        Returns:
            A list of `Judged`.
        """
        first, count = self._halves[half]
        count = min(count, draws or count)
        if self.objective.name == "capacity":
            return self._capacities(settings, first, count, near, step)
        able = [self.offered_rps <= STABLE * self.limit_rps(one) for one in settings]
        found = iter(
            self._at_load(
                [one for one, its in zip(settings, able, strict=True) if its], first, count
            )
        )
        return [next(found) if its else Judged(inf, inf) for its in able]

    def limit_rps(self, settings):
        """What a setting serves with a queue that never empties, requests per second."""
        setup = Setup(settings, self.source)
        seeds = range(1 if isinstance(self.source, ExactSource) else LIMIT_DRAWS)
        return len(seeds) / sum(1.0 / setup.limit_rps(seed) for seed in seeds)

    # At the load of the trace.

    def _at_load(self, settings, first, count):
        tracks = self._once(("tracks", first, count), lambda: self._tracks(first, count))
        chunk = max(1, _AT_ONCE // len(tracks.arrival_s))
        judged = []
        for begin in range(0, len(settings), chunk):
            judged += self._chunk(settings[begin : begin + chunk], tracks)
        return judged

    def _chunk(self, settings, tracks):
        each = len(tracks.draws)
        batches = lockstep(
            self._times(), tracks, _runs(settings, [np.arange(each)] * len(settings))
        )
        # Runs are ordered by setting, then by draw: so are the requests of a setting, and they are
        # those of the tracks.
        order = np.argsort(batches.run, kind="stable")
        delivered_s = np.repeat(batches.delivered_s[order], batches.size[order])
        delivered_s = delivered_s.reshape(len(settings), -1)
        window_s = np.repeat(tracks.window_s, tracks.count)
        inside = tracks.arrival_s < window_s
        latency_s = (delivered_s - tracks.arrival_s)[:, inside]
        answers = (delivered_s < window_s).sum(axis=1)
        until_s = tracks.window_s[batches.run % each]
        busy_s = np.minimum(batches.completed_s, until_s) - np.minimum(batches.started_s, until_s)
        busy_s = np.bincount(batches.run // each, busy_s, len(settings))
        return [self._judged(*numbers) for numbers in zip(latency_s, busy_s / answers, strict=True)]

    def _judged(self, latency_s, device_s):
        excess = 0.0
        if self.limit is not None:
            excess = log(_percentile(latency_s, self.limit.statistic.share) / self.limit.limit_s)
        if self.objective.name == "device-time":
            return Judged(float(device_s), excess)
        return Judged(_percentile(latency_s, self.objective.statistic.share), excess)

    # The highest load at which the SLO is met.

    def _capacities(self, settings, first, count, near, step):
        bottom = ceil(log(LOWEST) / log(step))
        near = near or [self.offered_rps] * len(settings)
        climbs, asked = [], {}
        for number, (one, rate_rps) in enumerate(zip(settings, near, strict=True)):
            top, start = (
                floor(log(rps / self.offered_rps) / log(step) + 1e-9)
                for rps in (STABLE * self.limit_rps(one), rate_rps)
            )
            climbs.append(_climb(bottom, top, start))
            asked[number] = next(climbs[-1])
        values = [0.0] * len(settings)
        while asked:
            met = self._met([(settings[n], rung) for n, rung in asked.items()], first, count, step)
            for number, is_met in zip(list(asked), met, strict=True):
                try:
                    asked[number] = climbs[number].send(is_met)
                except StopIteration as over:
                    del asked[number]
                    if over.value is not None:
                        values[number] = self.offered_rps * step**over.value
        return [Judged(value) for value in values]

    def _met(self, pairs, first, count, step):
        """Whether each setting meets the SLO at its rung."""
        met = {}
        largest = max(1, _AT_ONCE // (2 * count * self._drawn(0, 1)[0].requests))
        ordered = sorted(range(len(pairs)), key=lambda i: pairs[i][1])
        for begin in range(0, len(pairs), largest):
            among = ordered[begin : begin + largest]
            rungs = sorted({pairs[i][1] for i in among})
            tracks = self._tracks(first, count, [self.offered_rps * step**rung for rung in rungs])
            of = [rungs.index(pairs[i][1]) * count + np.arange(count) for i in among]
            runs = _runs([pairs[i][0] for i in among], of)
            watch = _Lateness(tracks, runs[0], count, self.limit)
            lockstep(self._times(), tracks, runs, watch)
            met |= dict(zip(among, (watch.late <= watch.allowed).tolist(), strict=True))
        return [met[i] for i in range(len(pairs))]

    # Draws.

    def _drawn(self, first, count, rate_rps=None):
        """Draws at a load that is counted as it arrives, whatever the trace's time scale."""
        if rate_rps is not None:
            rate_rps *= self.traffic.replay.time_scale
        return self.traffic.draws(first, count, window_s=self.window_s, rate_rps=rate_rps)

    def _tracks(self, first, count, rates_rps=(None,)):
        draws = [draw for rate in rates_rps for draw in self._drawn(first, count, rate)]
        return Tracks(draws, np.tile(np.arange(first, first + count), len(rates_rps)))

    def _times(self):
        largest = min(self.source.max_batch_size, 256)
        return self._once("times", lambda: times_of(self.source, range(self.draws), largest))

    def _once(self, key, make):
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


class _Lateness:
    """Counts the requests that are late, of each setting over all of its draws."""

    def __init__(self, tracks, track, each, limit):
        self._tracks, self._track, self._limit_s = tracks, track, limit.limit_s + DUST_S
        self._setting = np.arange(len(track)) // each
        requests = np.bincount(self._setting, tracks.requests[track]).astype(np.int64)
        # Nearest rank: a percentile is met while those that are late do not reach it.
        share = round(limit.statistic.share * 1_000_000)
        self.allowed = requests - (-(-share * requests // 1_000_000))
        self.late = np.zeros(len(requests))

    def take(self, batches):
        """Count those of some batches."""
        tracks, track = self._tracks, self._track[batches.run]
        late_s = batches.delivered_s - self._limit_s
        some = np.flatnonzero(tracks.arrival_s[tracks.start[track] + batches.first] < late_s)
        if not len(some):
            return
        track = track[some]
        first = batches.first[some]
        stop = np.minimum(first + batches.size[some], tracks.requests[track])
        late = np.minimum(tracks.arrived(track, late_s[some]), stop) - first
        setting = self._setting[batches.run[some]]
        self.late += np.bincount(setting, np.maximum(0, late), len(self.late))

    def decided(self):
        """The runs of settings that have missed the limit already."""
        return (self.late > self.allowed)[self._setting]


def _climb(bottom, top, start):
    """The highest rung that is met, None if there is none: yields rungs, is sent whether each is.

    In strides that double from `start`, up while it is met or down while it is not, then bisection.
    """
    if top < bottom:
        return None
    rung, stride = max(bottom, min(start, top)), _STRIDE
    met = yield rung
    low, high = (rung, None) if met else (None, rung)
    end, way = (top, 1) if met else (bottom, -1)
    while low is None or high is None:
        if rung == end:
            return low
        rung = min(max(rung + way * stride, bottom), top)
        stride *= 2
        if (yield rung):
            low = rung
        else:
            high = rung
    while high - low > 1:
        middle = (low + high) // 2
        if (yield middle):
            low = middle
        else:
            high = middle
    return low


def _runs(settings, tracks_of):
    """Track, limit and timeout of each run: every setting on its tracks."""
    each = [len(tracks) for tracks in tracks_of]
    return (
        np.concatenate(tracks_of),
        np.repeat([one.max_batch_size for one in settings], each),
        np.repeat([one.batch_timeout_ms / 1e3 for one in settings], each),
    )


def _percentile(latency_s, share):
    """Nearest rank."""
    rank = -(-round(share * 1_000_000) * len(latency_s) // 1_000_000)
    return float(np.partition(latency_s, rank - 1)[rank - 1])
