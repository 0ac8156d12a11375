"""What judges a search is right itself: its simulator, its device, its rivals."""

from pathlib import Path

import numpy as np
import pytest

from batching.profiles import load_profile
from bench.config import BatcherSettings
from bench.simulation.engine import simulate
from bench.simulation.runner import Setup
from bench.simulation.service import ExactService, Overheads
from bench.simulation.source import ProfileSource
from bench.tuning.evaluation import Simulator
from bench.tuning.objectives import Statistic, make_objective
from tests.bench.tuned import affine, p99, roofline, traffic
from tests.search_quality.lockstep import Tracks, lockstep, series_of, times_of
from tests.search_quality.truth import Truth

MLP = Path(__file__).parents[1] / "search_quality" / "data" / "mlp-cpu.json"
SETTINGS = [(1, 0.0), (3, 1.7), (8, 0.0), (16, 4.0), (32, 30.0)]


class Series:
    """The engine's service and overheads, of the very series that lockstep draws."""

    def __init__(self, source, seed):
        self.ranks, wakes, timers, turns = series_of(source, seed)
        self.curve = source.profile.curve()
        self.overheads = Overheads(*(lambda one=one: next(one) for one in (wakes, timers, turns)))

    def next(self, size):
        rows = self.curve.rows(size)
        return tuple(rows[int(next(self.ranks) * len(rows))])


def service_of(source, seed):
    if isinstance(source, ProfileSource):
        series = Series(source, seed)
        return series, series.overheads
    return ExactService(source.model.batch_s), Overheads()


@pytest.mark.parametrize("trace", ["poisson.json", "bursty.json"])
@pytest.mark.parametrize(
    "source", [affine(), roofline(), ProfileSource(load_profile(MLP))], ids=["a", "r", "p"]
)
def test_runs_in_lockstep_form_the_very_batches_of_the_engine(source, trace):
    load = traffic(source, utilization=0.5, trace=trace, duration=0.6)
    tracks = Tracks(load.draws(0, 3), np.arange(3))
    runs = [(track, *setting) for setting in SETTINGS for track in range(3)]
    track, limit, timeout_ms = map(np.array, zip(*runs, strict=True))
    seeds = (5, 6, 7)
    times = times_of(source, seeds, 32)
    batches = lockstep(times, tracks, (track, limit, timeout_ms / 1e3))
    for number, (of, size, wait_ms) in enumerate(runs):
        policy = Setup(
            BatcherSettings(max_batch_size=size, batch_timeout_ms=wait_ms), source
        ).policy()
        service, overheads = service_of(source, seeds[of])
        arrival_s = tracks.draws[of].trace.arrival_s.tolist()
        run = simulate(arrival_s, policy, service, overheads=overheads)
        mine = batches.run == number
        assert batches.size[mine].tolist() == run.size.tolist()
        assert batches.first[mine].tolist() == run.first.tolist()
        for name in ("started_s", "completed_s", "delivered_s"):
            assert getattr(batches, name)[mine].tolist() == getattr(run, name).tolist()


SOME = [BatcherSettings(max_batch_size=b, batch_timeout_ms=t) for b, t in SETTINGS[2:]]


def truth_of(source, objective, limit, **kwargs):
    asked = make_objective(objective, Statistic(), limit)
    return Truth(asked, limit, source, traffic(source, **kwargs), draws=6, window_s=1.0)


def unseen(truth, first=0, draws=3):
    return Simulator(truth.source, truth.traffic, first, draws, window_s=1.0, step=1.0025)


@pytest.mark.parametrize("objective", ["latency", "device-time"])
def test_the_truth_at_a_load_is_what_the_engine_says_of_the_same_draws(objective):
    truth = truth_of(roofline(), objective, p99(30))
    for half in (0, 1):
        sim = unseen(truth, 3 * half)
        for settings, judged in zip(SOME, truth.judge(SOME, half), strict=True):
            score = truth.objective.score(sim.evidence(settings))
            assert judged.value == pytest.approx(score.value, rel=1e-12)
            assert judged.excess == pytest.approx(score.violations["slo"], abs=1e-12)


def test_a_true_capacity_is_the_highest_load_at_which_the_engine_meets_the_limit():
    truth = truth_of(affine(), "capacity", p99(45), trace="bursty.json")
    limit = truth.limit
    for settings, judged in zip(SOME, truth.judge(SOME, 0), strict=True):
        setup = Setup(settings, truth.source)
        for share, is_met in ((1.0, True), (1.0025, False)):
            draws = truth._drawn(0, 3, share * judged.value)
            assert limit.met([setup.outcome(draw, i) for i, draw in enumerate(draws)]) == is_met


def test_a_setting_that_cannot_carry_the_load_is_not_usable():
    truth = truth_of(affine(), "latency", None, utilization=0.9)
    alone, usual = truth.judge([BatcherSettings(max_batch_size=1), BatcherSettings()], 0)
    assert not alone.usable
    assert usual.usable
