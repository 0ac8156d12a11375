"""From trials to a recommendation, and the race that it has to win."""

from math import inf

import numpy as np
import pytest

from bench.settings import BatcherSettings
from bench.tuning.decision import _lost
from bench.tuning.device.metric import measured_in
from bench.tuning.device.race import Measured, Race
from bench.tuning.search.objectives import CapacityWithin, Latency, Score, Statistic
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import (
    Candidate,
    choose,
    flatness,
    pareto,
    ranked,
)
from bench.tuning.search.space import Space, Steps, Whole
from results.run.device_metrics import DeviceMetrics
from results.run.metrics import BatchMetrics, Breakdown, Counts, Spread
from results.run.metrics import Latency as Latencies
from results.run.metrics import Metrics as RunMetrics
from results.run.record import RunRecord
from results.run.validity import Finding
from results.tuning.device_record import RaceArm
from results.tuning.metrics import Metrics
from tests.bench.tuning.tuned import p99

SPACE = Space(
    BatcherSettings(),
    {"max_batch_size": Whole(1, 256, log=True), "batch_timeout_ms": Steps(0.0, 50.0, 0.5)},
)


def candidate(size, value, *, timeout_ms=0.0, per_draw=(), violation=0.0):
    settings = BatcherSettings(max_batch_size=size, batch_timeout_ms=timeout_ms)
    return Candidate(settings, Score(value, {"slo": violation}), tuple(per_draw), Metrics())


def spread(middle, scatter, *, seed=0, draws=8):
    return middle * np.exp(scatter * np.random.default_rng(seed).standard_normal(draws))


@pytest.mark.parametrize(
    ("simple", "size", "why"),
    [
        (candidate(8, 1.008, per_draw=[1.008] * 8), 8, "surely within 1 %: simpler is better"),
        (candidate(8, 1.03, per_draw=[1.03] * 8), 64, "3 % are 3 %"),
        (candidate(8, 1.008, per_draw=spread(1.008, 0.2)), 64, "within 1 % only by luck"),
        (candidate(8, 0.5, per_draw=[0.5] * 8, violation=0.1), 64, "it violates the SLO"),
    ],
)
def test_a_simpler_setting_is_preferred_if_it_is_surely_as_good(simple, size, why):
    best = candidate(64, 1.0, timeout_ms=5.0, per_draw=[1.0] * 8)
    assert choose([best, simple], Latency()).settings.max_batch_size == size, why


def test_one_that_has_a_name_already_is_preferred_if_it_is_surely_as_good():
    known, simpler = candidate(64, 2.99, per_draw=[2.99] * 8), candidate(8, 3.0, per_draw=[3.0] * 8)
    assert choose([known, simpler], Latency()).settings == simpler.settings
    assert choose([known, simpler], Latency(), named=[known.settings]).settings == known.settings
    worse = candidate(64, 3.5, per_draw=[3.5] * 8)
    assert choose([worse, simpler], Latency(), named=[worse.settings]).settings == simpler.settings


def test_of_capacities_the_larger_is_better():
    found = choose(
        [candidate(64, 100.0), candidate(8, 99.5), candidate(4, 50.0)], CapacityWithin(p99(5))
    )
    assert found.settings.max_batch_size == 8


def test_nothing_is_chosen_where_all_violate_something():
    assert choose([candidate(8, 1.0, violation=0.1)], Latency()) is None


def test_the_front_holds_those_that_none_beats_in_both_respects():
    points = [(1, 9), (2, 5), (3, 6), (4, 1), (4, 2), (None, 0)]
    assert pareto(points, lambda p: p[0], lambda p: p[1]) == [(1, 9), (2, 5), (4, 1)]


def test_flatness_counts_who_comes_near_the_best():
    found = flatness([1.0, 1.01, 1.04, 2.0, inf], maximise=False)
    assert (found.within[0.02], found.within[0.05], found.tried) == (2, 3, 4)
    assert found.worst == pytest.approx(2.0)
    assert flatness([100.0, 99.0, 50.0], maximise=True).within[0.02] == 2


def test_the_best_and_the_simplest_of_those_near_it_are_looked_at_in_turn():
    def trial(number, size, timeout_ms, value):
        knobs = {"max_batch_size": size, "batch_timeout_ms": timeout_ms}
        return Finished(number, knobs, Score(value, {"load": -1.0}), Metrics())

    trials = [
        trial(0, 64, 5.0, 1.00),
        trial(1, 64, 4.0, 1.01),
        trial(2, 4, 0.0, 1.02),
        trial(3, 2, 0.0, 1.50),
    ]
    sizes = [(s.max_batch_size, s.batch_timeout_ms) for s in ranked(trials, Latency(), SPACE)]
    assert sizes[:2] == [(64, 5.0), (4, 0.0)]
    assert len(sizes) == len(set(sizes)) == 4


# The race.


def raced(means, *, scatter=0.05, draws=6, seed=0, excess=None, **kwargs):
    """Race arms whose values are lognormal about a mean, with a draw's luck common to all."""
    rng = np.random.default_rng(seed)
    luck = rng.standard_normal(draws)
    race = Race(list(means), draws, **kwargs)
    runs = 0
    while (run := race.ask()) is not None:
        value = means[run.arm]
        if value is not None:
            value *= float(np.exp(0.3 * luck[run.draw] + scatter * rng.standard_normal()))
        race.tell(run, Measured(value, (excess or {}).get(run.arm, 0.0)))
        runs += 1
    return race, runs


def test_a_clear_loser_is_dropped_as_soon_as_it_is_looked_at():
    race, runs = raced({"a": 1.0, "b": 1.03, "slow": 3.0})
    assert race.dropped["slow"] == 3
    assert runs < 3 * 6


def test_what_all_draws_have_in_common_does_not_matter():
    race, _ = raced({"a": 1.0, "b": 1.4}, scatter=0.01)
    assert race.leader == "a"
    assert race.dropped == {"b": 3}


def test_the_best_setting_is_dropped_in_five_races_of_a_hundred_at_most():
    lost = sum(
        "best" in raced({"best": 1.0, **{str(i): 1.0 for i in range(4)}}, seed=seed)[0].dropped
        for seed in range(300)
    )
    assert lost / 120 <= 0.05


def test_ties_end_the_race_and_the_simplest_wins():
    race, runs = raced({"long": 1.0, "short": 1.005}, scatter=0.001)
    assert runs == 6  # three draws of two
    assert race.winner(len) == "long"
    assert race.winner(lambda name: -len(name)) == "short"


def test_a_setting_that_leaves_requests_unanswered_is_dropped():
    race, _ = raced({"a": 1.0, "b": None})
    assert race.winner(len) == "a"
    assert "b" in race.dropped


def test_a_setting_that_misses_the_slo_cannot_win_however_good_it_is():
    race, _ = raced({"late": 0.1, "in time": 1.0}, excess={"late": 0.2, "in time": -0.1})
    assert race.winner(len) == "in time"


def test_nobody_wins_where_all_miss_the_slo():
    race, _ = raced({"a": 1.0, "b": 1.1}, excess={"a": 0.2, "b": 0.2})
    assert race.winner(len) is None


@pytest.mark.parametrize(
    ("excess", "wins"),
    [
        ((-0.03, 0.06, 0.03, -0.03, 0.0), True),  # 0.6 % over by luck
        ((0.01, 0.011, 0.012, 0.01, 0.011), False),  # 1 % over, surely
        ((-0.1, 0.2, 0.1, -0.1, 0.2), False),  # 6 % over, perhaps by luck
    ],
)
def test_what_lies_at_the_edge_of_the_slo_is_out_only_if_it_surely_misses_or_by_far(excess, wins):
    race = Race(["edge", "slack"], len(excess), drop=False)
    while (run := race.ask()) is not None:
        edge = run.arm == "edge"
        race.tell(run, Measured(1.0 if edge else 2.0, excess[run.draw] if edge else -0.5))
    assert (race.winner(len) == "edge") == wins


def test_of_goodput_the_larger_wins():
    race, _ = raced({"a": 1.0, "b": 2.0}, maximise=True)
    assert race.winner(len) == "b"


def test_every_draw_is_served_by_all_in_an_order_and_then_in_its_reverse():
    race = Race(["a", "b", "c"], 2, drop=False)
    order = []
    while (run := race.ask()) is not None:
        order.append(run.arm)
        race.tell(run, Measured(1.0))
    assert order[:3] == order[3:][::-1]


def test_a_confirmation_drops_nobody():
    race, runs = raced({"a": 1.0, "b": 5.0}, drop=False)
    assert runs == 12
    assert not race.dropped


def run_of(p99_s, *, busy, mean_size=None, rejected=0, faults=()):
    ended = {"rejected": rejected, "expired": 0, "failed": 0, "cancelled": 0, "retried": 0}
    metrics = RunMetrics(
        offered_rps=100.0,
        throughput_rps=100.0,
        latency_s=Latencies(p99=p99_s),
        breakdown_s=Breakdown(),
        slip_s=Spread(),
        stall_s=Spread(),
        batch=BatchMetrics(count=1, mean_size=mean_size, histogram={}),
        counts=Counts(submitted=100, ok=100 - rejected, **ended),
        device=DeviceMetrics(busy_fraction=busy),
    )
    findings = tuple(Finding(code=code, message="", remedy="") for code in faults)
    return RunRecord(id="a", window_s=1.0, findings=findings, metrics=metrics)


def test_what_is_expected_is_the_geometric_mean_over_draws_and_a_share_ends_at_one():
    runs = [run_of(0.01, busy=0.6), run_of(0.04, busy=0.9, mean_size=4.0, faults=("errors",))]
    measured = measured_in("race", runs, Statistic())
    metrics = measured.metrics
    assert metrics["p99_s"].value == pytest.approx(0.02)
    assert metrics["p99_s"].low < 0.01
    assert metrics["busy_fraction"].high == 1.0
    assert "mean_batch_size" not in metrics  # a draw has none
    assert (measured.runs, measured.not_valid, measured.reasons) == (2, 1, {"errors": 1})
    assert measured_in("race", runs[:1], Statistic()).metrics["p99_s"].low is None
    unanswered = [*runs, run_of(0.02, busy=0.9, rejected=1)]
    assert "p99_s" not in measured_in("race", unanswered, Statistic()).metrics


@pytest.mark.parametrize(
    ("raced", "lost", "why"),
    [
        ({"dropped_after": None, "slo_excess": -0.1}, False, "it stayed to the end"),
        ({"dropped_after": 3, "slo_excess": 0.0}, True, "it was surely worse"),
        ({"dropped_after": None, "slo_excess": 0.4}, True, "it missed the SLO"),
        ({"dropped_after": None, "slo_excess": None}, True, "it left requests unanswered"),
    ],
)
def test_what_lost_the_race_is_not_kept_for_want_of_a_sure_gain(raced, lost, why):
    assert _lost(RaceArm(**raced)) == lost, why
