"""What a setting is judged by: the value, and the constraints that are kept apart from it."""

import json
from math import inf, log

import numpy as np
import pytest

from bench.errors import InputError
from bench.settings import BatcherSettings, ReplaySettings
from bench.simulation.outcome import Outcome
from bench.tuning.search.objectives import (
    CapacityWithin,
    DeviceTime,
    Goodput,
    Latency,
    Statistic,
    make_objective,
)
from bench.tuning.simulated.simulator import Traffic
from tests.bench.tuning.tuned import (
    affine,
    evidence,
    p99,
    roofline,
    simulator,
)

MS = 1e-3


def outcome(latency_ms, *, requests=None, device_ms=1.0, window_s=1.0):
    latency_s = np.sort(np.asarray(latency_ms, dtype=float)) * MS
    ok = len(latency_s)
    return Outcome(
        requests=requests or ok,
        ok=ok,
        latency_s=latency_s,
        throughput_rps=ok / window_s,
        mean_batch_size=1.0,
        busy_fraction=0.5,
        device_s_per_request=device_ms * MS,
        backlog_s=0.0,
    )


def test_latency_is_of_the_requests_of_all_draws_together():
    draws = [outcome([1.0] * 99), outcome([9.0])]
    assert Latency(Statistic(0.5)).score(evidence(draws)).value == 1 * MS
    assert Latency(Statistic(0.999)).score(evidence(draws)).value == 9 * MS


def test_the_mean_is_over_all_requests_and_infinite_if_one_has_no_answer():
    assert Statistic(None).of([outcome([1.0, 2.0, 6.0])]) == pytest.approx(3 * MS)
    assert Statistic(None).of([outcome([1.0], requests=2)]) == inf


def test_a_setting_that_cannot_carry_the_load_violates_it_and_has_no_latency():
    score = Latency().score(evidence(offered_rps=300.0, limit_rps=200.0))
    assert score.value == inf
    assert score.violations["load"] > 0.0
    assert not score.feasible


def test_the_more_load_is_missing_the_worse_the_violation():
    near, far = (
        Latency().score(evidence(offered_rps=100.0, limit_rps=limit)).violations["load"]
        for limit in (90.0, 10.0)
    )
    assert 0.0 < near < far


def test_a_setting_that_refuses_requests_does_not_deliver_all_of_the_load():
    score = Latency(Statistic(0.5)).score(evidence([outcome([1.0] * 9, requests=10)]))
    assert score.violations["answered"] == pytest.approx(0.1)
    assert not score.feasible


def test_device_time_is_minimised_within_the_slo():
    slow = DeviceTime(p99(5)).score(evidence([outcome([10.0], device_ms=0.2)]))
    quick = DeviceTime(p99(5)).score(evidence([outcome([4.0], device_ms=0.8)]))
    assert slow.value < quick.value
    assert slow.violations["slo"] == pytest.approx(log(2.0))
    assert quick.feasible


def test_device_time_is_over_all_requests_not_over_draws():
    draws = [outcome([1.0] * 3, device_ms=1.0), outcome([1.0], device_ms=5.0)]
    assert DeviceTime(p99(5)).score(evidence(draws)).value == pytest.approx(2 * MS)


def test_capacity_is_the_load_and_a_setting_that_never_meets_the_slo_violates_it():
    able = CapacityWithin(p99(5)).score(evidence([outcome([1.0])], capacity_rps=70.0))
    unable = CapacityWithin(p99(5)).score(evidence([outcome([9.0])], capacity_rps=0.0))
    assert (able.value, able.feasible) == (70.0, True)
    assert (unable.value, unable.feasible) == (0.0, False)


def test_goodput_counts_answers_in_time_whether_or_not_the_load_is_carried():
    draws = [outcome([1.0, 2.0, 9.0]), outcome([1.0])]
    score = Goodput(p99(5)).score(evidence(draws, offered_rps=300.0, limit_rps=200.0))
    assert score.value == pytest.approx(1.5)
    assert score.feasible


def test_the_objective_is_latency_without_an_slo_and_capacity_with_one():
    assert make_objective(None, Statistic(), None).name == "latency"
    assert make_objective(None, Statistic(), p99(5)).name == "capacity"


@pytest.mark.parametrize("name", ["device-time", "capacity", "goodput"])
def test_an_objective_that_needs_an_slo_says_so(name):
    with pytest.raises(InputError, match="must be with an SLO"):
        make_objective(name, Statistic(), None)


def test_an_unknown_objective_or_percentile_is_refused():
    with pytest.raises(InputError, match="objective must be one of"):
        make_objective("speed", Statistic(), None)
    with pytest.raises(InputError, match="percentile must be one of"):
        Statistic.parse("98")


@pytest.mark.parametrize(("text", "shown"), [("99", "p99"), ("p99.9", "p99.9"), ("mean", "mean")])
def test_percentiles_are_read_as_they_are_shown(text, shown):
    assert str(Statistic.parse(text)) == shown


def test_all_settings_meet_the_same_draws_and_equal_ones_give_equal_numbers():
    settings = BatcherSettings(max_batch_size=16, batch_timeout_ms=2.0)
    first, second = (simulator(roofline()).evidence(settings) for _ in range(2))
    assert Latency().score(first) == Latency().score(second)


def test_draws_of_other_numbers_are_other_arrivals():
    settings = BatcherSettings(max_batch_size=16, batch_timeout_ms=2.0)
    seen, fresh = (simulator(affine(), first=n).evidence(settings) for n in (0, 3))
    assert Latency(Statistic(None)).score(seen) != Latency(Statistic(None)).score(fresh)


def test_capacity_on_the_ladder_is_where_the_slo_stops_being_met():
    limit, sim = p99(20), simulator(roofline(), draws=4, duration=4.0)
    settings = BatcherSettings(max_batch_size=64, batch_timeout_ms=0.0)
    capacity_rps = CapacityWithin(limit).score(sim.evidence(settings)).value
    met, missed = (
        simulator(
            roofline(), draws=4, duration=4.0, utilization=None, rate=capacity_rps * factor
        ).evidence(settings)
        for factor in (1.0, 1.02)
    )
    assert limit.met(met.outcomes)
    assert not missed.outcomes or not limit.met(missed.outcomes)


def test_where_the_search_for_a_capacity_begins_makes_no_difference_to_the_best():
    limit, settings = p99(20), BatcherSettings(max_batch_size=64, batch_timeout_ms=0.0)
    cold, warm = simulator(roofline()), simulator(roofline())
    warm.begin_at(settings, limit)
    ratio = cold.evidence(settings).capacity_rps(limit) / warm.evidence(settings).capacity_rps(
        limit
    )
    assert ratio == pytest.approx(1.0, abs=0.011)  # one rung


def test_a_recording_as_long_as_its_draws_can_be_raced_at_a_higher_load(tmp_path):
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"arrival_s": [0.01 * i for i in range(1001)]}))
    recorded = Traffic.of(ReplaySettings(trace=str(path), duration=8.0), lambda: 1.0)
    faster = recorded.at(1.6)
    assert faster.rate_rps == pytest.approx(1.6 * recorded.rate_rps)
    assert faster.draws(0, 1)[0].requests == recorded.draws(0, 1)[0].requests
