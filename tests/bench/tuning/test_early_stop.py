"""A run is ended once it certainly fails, and never before."""

from math import inf

import numpy as np
import pytest
from rich.console import Console

from batching import RealClock
from bench.live.measure import measure_run
from bench.live.plan import plan_run
from bench.live.session import Session
from bench.profiling.load import Loaded
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
)
from bench.simulation.run import write_simulation
from bench.simulation.setup import Setup
from bench.tuning.device.early_stop import (
    Ended,
    Known,
    Threshold,
    TrialStopper,
)
from bench.tuning.search.objectives import Limit, Statistic
from results.comparison.observation import all_latencies
from tests.bench.stand_in import watched
from tests.bench.tuning.tuned import (
    MS,
    affine,
    p99,
    traffic,
)
from workloads import load

MEAN = Limit(Statistic(None), 0.1)


def known(latency_s, requests, busy_s=0.0):
    return Known(np.asarray(latency_s, dtype=float), requests, busy_s)


@pytest.mark.parametrize(
    ("late", "ended", "why"),
    [
        (1, None, "one of 100 may be late: the p99 is the 99th smallest"),
        (2, Ended.MISSES, "with two late the 99th smallest is one of them"),
    ],
)
def test_a_percentile_is_missed_once_more_are_late_than_it_allows(late, ended, why):
    seen = known([0.2] * late + [0.01] * 10, requests=100)
    assert seen.fails(Threshold(limit=p99(100))) is ended, why


def test_requests_that_are_not_due_yet_count_as_instant():
    assert known([0.5, 0.4, 0.3], requests=100).least_s(Statistic(0.99)) == 0.4
    assert known([0.5], requests=100).least_s(Statistic(0.99)) == 0.0
    assert known([], requests=100).least_s(Statistic(0.5)) == 0.0


def test_a_mean_is_at_least_what_has_been_waited_already():
    assert known([3.0, 3.0], requests=100).least_s(Statistic(None)) == 0.06
    assert known([3.0] * 4, requests=100).fails(Threshold(limit=MEAN)) is Ended.MISSES
    assert known([3.0] * 3, requests=100).fails(Threshold(limit=MEAN)) is None


def test_a_request_without_an_answer_is_late_for_any_limit():
    assert known([inf, inf], requests=100).fails(Threshold(limit=p99(1e6))) is Ended.MISSES


def test_a_setting_loses_once_its_bound_is_above_the_best():
    best = Threshold(limit=p99(1000), latency=p99(100))
    assert known([0.2, 0.2], requests=100).fails(best) is Ended.LOSES
    assert known([0.2], requests=100).fails(best) is None


def test_a_setting_loses_once_it_has_used_more_of_the_device_than_the_best_does_in_all():
    assert known([], requests=100, busy_s=0.11).fails(Threshold(device_s=1 * MS)) is Ended.LOSES
    assert known([], requests=100, busy_s=0.10).fails(Threshold(device_s=1 * MS)) is None


def test_goodput_loses_once_too_few_are_left_to_be_in_time():
    best = Threshold(goodput=(p99(100), 98))
    assert known([0.2] * 3, requests=100).fails(best) is Ended.LOSES
    assert known([0.2] * 2, requests=100).fails(best) is None


@pytest.mark.parametrize("seed", range(5))
def test_no_run_that_meets_its_bar_is_ended_and_the_bound_never_passes_the_truth(tmp_path, seed):
    rng = np.random.default_rng(seed)
    source = affine()
    arrivals = traffic(source, utilization=rng.uniform(0.2, 0.9), trace="bursty.json", seed=seed)
    [draw] = arrivals.draws(0, 1)
    settings = BatcherSettings(
        max_batch_size=int(rng.integers(1, 65)), batch_timeout_ms=float(rng.uniform(0, 30))
    )
    run = write_simulation(
        Setup(settings, source), Settings(), Loaded(source, "affine", "x"), draw, tmp_path / "run"
    )
    truth_s = Statistic(0.99).of([Setup(settings, source).outcome(draw, 0)])
    assert all_latencies(run)[-1] >= truth_s
    at_the_truth = TrialStopper(
        draw, Threshold(limit=Limit(Statistic(0.99), truth_s)), Known(requests=draw.requests)
    )
    assert watched(run, draw, at_the_truth) in {None, Ended.SATURATED}
    assert at_the_truth.known.least_s(Statistic(0.99)) <= truth_s
    below = TrialStopper(
        draw, Threshold(limit=Limit(Statistic(0.99), 0.2 * truth_s)), Known(requests=draw.requests)
    )
    assert watched(run, draw, below) is not None


def test_what_earlier_draws_have_shown_counts_too():
    source = affine()
    [draw] = traffic(source).draws(0, 1)
    before = known([9.0] * 50, requests=50 + draw.requests)
    guard = TrialStopper(draw, Threshold(limit=p99(100)), before)
    sent = type("Sent", (), {"start_s": 0.0, "requests": [], "ended_s": {}})()
    sent.stop = type("Stop", (), {"set": lambda self: None})()
    guard.watch(sent, 0.25)
    assert guard.ended is Ended.MISSES
    assert guard.window_s == 0.25


def test_a_run_that_is_hopeless_is_ended_and_kept_as_far_as_it_went():
    # One request at a time takes 50 ms, and 200 a second come.
    settings = Settings(
        model=ModelSettings(model="affine:50,0"),
        batcher=BatcherSettings(max_batch_size=1, batch_timeout_ms=0.0),
        replay=ReplaySettings(trace="steady.json", rate=200.0, duration=8.0),
    )
    session = Session(settings.model, [settings.batcher], RealClock(), Console(quiet=True))
    planned = plan_run(session, settings, load("steady.json"))
    arrivals = planned.arrivals
    guard = TrialStopper(arrivals, Threshold(limit=p99(100)), Known(requests=arrivals.requests))
    recording = measure_run(session, planned, guard)
    assert guard.ended is Ended.MISSES
    assert recording.window_s == guard.window_s < arrivals.window_s
    assert not recording.partial
    assert len(recording.requests) < len(arrivals.trace)
