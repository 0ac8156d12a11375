"""What judges a search is right itself: its simulator, its device, its rivals."""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from batching.profiles import load_profile
from bench.profiling.service_times import ExactService, Overheads, ProfileSource
from bench.settings import BatcherSettings
from bench.simulation.engine import simulate
from bench.simulation.setup import Setup
from bench.tuning.search.objectives import Statistic, make_objective
from bench.tuning.simulated.simulator import Simulator
from tests.bench.tuning.tuned import (
    QUICK,
    affine,
    p99,
    roofline,
    traffic,
)
from tests.search_quality.baselines import LEAST, MOST, SEARCHES, Search
from tests.search_quality.device import BUDGET_S, PROFILE_S, Device
from tests.search_quality.lockstep import Tracks, lockstep, series_of, times_of
from tests.search_quality.regret import Case, judged, question_of, surface
from tests.search_quality.truth import Truth

MLP = Path(__file__).parents[2] / "search_quality" / "data" / "mlp-cpu.json"
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
        for settings, true in zip(SOME, truth.judge(SOME, half), strict=True):
            score = truth.objective.score(sim.evidence(settings))
            assert true.value == pytest.approx(score.value, rel=1e-12)
            assert true.excess == pytest.approx(score.violations["slo"], abs=1e-12)


def test_a_true_capacity_is_the_highest_load_at_which_the_engine_meets_the_limit():
    truth = truth_of(affine(), "capacity", p99(45), trace="bursty.json")
    limit = truth.limit
    for settings, true in zip(SOME, truth.judge(SOME, 0), strict=True):
        setup = Setup(settings, truth.source)
        for share, is_met in ((1.0, True), (1.0025, False)):
            draws = truth._drawn(0, 3, share * true.value)
            assert limit.met([setup.outcome(draw, i) for i, draw in enumerate(draws)]) == is_met


def test_a_setting_that_cannot_carry_the_load_is_not_usable():
    truth = truth_of(affine(), "latency", None, utilization=0.9)
    alone, usual = truth.judge([BatcherSettings(max_batch_size=1), BatcherSettings()], 0)
    assert not alone.usable
    assert usual.usable


# What judges.


def case(objective="device-time", limit=None, **kwargs):
    limit = limit or p99(30)
    question = question_of(objective, None if objective == "latency" else limit, **kwargs)
    source = roofline()
    return Case(
        question, source, traffic(source, duration=4.0), draws=8, window_s=1.0, sizes=5, timeouts=4
    )


def test_the_best_of_a_grid_has_no_regret_and_what_is_off_by_a_tenth_has_ten_percent():
    asked = case("latency")
    truth, cells = asked.truth(), asked.cells()
    flat = surface(asked, truth)
    values = [one.value for one in truth.judge(cells, 1)]
    regrets = [regret for regret, _ in judged(asked, truth, flat, cells)]
    best = values[cells.index(flat.best)]
    assert regrets[cells.index(flat.best)] == 0.0
    for value, regret in zip(values, regrets, strict=True):
        assert regret == (inf if value == inf else pytest.approx(value / best - 1.0))


def test_a_setting_that_misses_the_slo_is_of_no_use_however_cheap():
    asked = case(limit=p99(12))
    truth = asked.truth()
    flat = surface(asked, truth)
    patient = BatcherSettings(max_batch_size=64, batch_timeout_ms=20.0)
    ((regret, excess),) = judged(asked, truth, flat, [patient])
    assert truth.judge([patient], 1)[0].value < flat.value
    assert excess > 0.5
    assert regret == inf


def test_of_capacities_the_regret_is_the_share_that_is_lost():
    asked = case("capacity")
    truth = asked.truth()
    flat = surface(asked, truth)
    small = BatcherSettings(max_batch_size=4, batch_timeout_ms=0.0)
    ((regret, _),) = judged(asked, truth, flat, [small])
    one, best = truth.judge([small, flat.best], 1)
    assert regret == pytest.approx(1.0 - one.value / best.value)
    assert regret > 0.2


# The device, and the searches that have nothing else.


def device(objective="device-time", limit=None):
    asked = case(objective, limit)
    return Device(asked.objective, asked.question.limit, asked.source, asked.traffic, 2.0)


def test_every_run_on_the_device_is_paid_for_and_has_arrivals_of_its_own():
    one = device()
    first, second = (one.measure(BatcherSettings(), 0) for _ in range(2))
    assert one.spent_s == pytest.approx(2 * (1.15 * 2.0 + 2.5))
    assert first.value != second.value


def test_a_capacity_on_the_device_takes_several_runs_and_is_near_the_true_one():
    one = device("capacity")
    found = one.capacity_rps(BatcherSettings(batch_timeout_ms=0.0), 0)
    runs = one.spent_s / one.run_s
    (true,) = case("capacity").truth().judge([BatcherSettings(batch_timeout_ms=0.0)], 0)
    assert 4 <= runs <= 12
    assert found == pytest.approx(true.value, rel=0.2)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_on_the_device_keeps_to_its_time_and_hands_over_what_met_the_slo(name):
    asked = case()
    on = Device(asked.objective, asked.question.limit, asked.source, asked.traffic, 2.0)
    space = asked.question.space(asked.source, asked.objective)
    delays_ms = tuple(dict.fromkeys(cell.batch_timeout_ms for cell in asked.cells()))
    settings, trials = Search(space, delays_ms, on, 60.0, seed=1).run(name)
    assert trials == int(60.0 / on.run_s) == round(on.spent_s / on.run_s)
    assert asked.truth().judge([settings], 0)[0].excess < 0.1


def test_the_analyzer_stops_ten_trials_after_its_best_once_it_has_made_the_fewest():
    asked = case("latency")
    on = Device(asked.objective, None, asked.source, asked.traffic, 0.5)
    space = asked.question.space(asked.source, asked.objective)
    _, trials = Search(space, (0.0, 5.0), on, 1e6, seed=0).run("model analyzer")
    assert 1 + LEAST <= trials <= 1 + MOST


def test_a_tuning_hands_over_what_it_found_within_its_budget():
    asked = replace(case(trials=30, patience=15), effort=QUICK)
    handed = asked.race(asked.search())
    assert handed.outcome == "recommended won"
    assert handed.settings.batch_timeout_ms > 10.0
    assert PROFILE_S < handed.spent_s <= BUDGET_S
