"""What is tried around the best setting, while searching and on the draws that decide."""

import optuna
import pytest

from bench.settings import BatcherSettings
from bench.tuning.search.neighbours import neighbours
from bench.tuning.search.objectives import Latency, Score
from bench.tuning.search.sampler import Finished, Tuner
from bench.tuning.search.selection import Candidate, different, look_around
from bench.tuning.search.space import (
    Choice,
    Space,
    Steps,
    Whole,
)
from results.tuning.metrics import Metrics

SPACE = Space(
    BatcherSettings(),
    {"max_batch_size": Whole(1, 128, log=True), "batch_timeout_ms": Steps(0.0, 40.0, 0.5)},
)
PLATEAU = {"max_batch_size": 11, "batch_timeout_ms": 33.5}


def test_neighbours_are_in_range_different_and_not_the_setting_itself():
    around = list(neighbours(SPACE, PLATEAU))
    assert PLATEAU not in around
    for name, knob in SPACE.ranges.items():
        assert all(knob.holds(one[name]) for one in around)
    alone = [one for one in around if one["max_batch_size"] == 11]
    assert len(alone) == len({one["batch_timeout_ms"] for one in alone})


def test_neighbours_reach_far_along_one_knob_and_step_along_both():
    around = [tuple(one.values()) for one in neighbours(SPACE, PLATEAU)]
    assert (11, 4.0) in around  # an eighth
    assert (11, 0.0) in around
    assert (10, 34.0) in around


def test_a_choice_is_tried_at_its_other_values():
    space = Space(BatcherSettings(), {**SPACE.ranges, "in_flight": Choice((1, 2))})
    around = list(neighbours(space, {**PLATEAU, "in_flight": 1}))
    assert {**PLATEAU, "in_flight": 2} in around


def value(settings):
    """Flat but for a dip a long way below the timeout from which it is flat."""
    wait_ms = settings.batch_timeout_ms
    dip = abs(wait_ms - 5.0) / 5.0 if wait_ms < 10.0 else 1.0
    return 1.0 + abs(settings.max_batch_size - 11) + 0.05 * dip


def candidate(settings, feasible=True):
    score = Score(value(settings), {"slo": 0.0 if feasible else 1.0})
    return Candidate(settings, score, (), {})


def test_a_closer_look_around_finds_the_dip_beside_a_plateau():
    first = [candidate(SPACE.settings({**PLATEAU, "batch_timeout_ms": 14.0}))]
    found = look_around(first, SPACE, Latency(), candidate, most=20)
    best = min(found, key=lambda one: one.score.value)
    assert best.settings.max_batch_size == 11
    assert best.settings.batch_timeout_ms == pytest.approx(5.0, abs=1.0)
    assert len(found) <= 21


def test_nothing_is_looked_at_around_what_is_of_no_use():
    first = [candidate(SPACE.settings(PLATEAU), feasible=False)]
    assert look_around(first, SPACE, Latency(), candidate, most=20) == first


def search(polish):
    study = optuna.create_study()
    tuner = Tuner(study, SPACE, Latency(), trials=50, patience=50, seed=3, polish=polish)
    while (proposal := tuner.ask()) is not None:
        tuner.tell(proposal, Score(value(SPACE.settings(proposal.knobs)), {}), Metrics())
    return tuner


def test_a_search_that_polishes_gets_closer_and_tries_nothing_twice():
    with_it, without = search(polish=True), search(polish=False)
    assert with_it.best.score.value < without.best.score.value
    assert len({tuple(trial.knobs.values()) for trial in with_it.finished}) == 50


def test_of_settings_that_did_the_very_same_the_simplest_is_looked_at():
    def trial(number, timeout_ms, p99_s):
        knobs = {"max_batch_size": 11, "batch_timeout_ms": timeout_ms}
        return Finished(number, knobs, Score(p99_s, {}), Metrics(p99_s=p99_s))

    trials = [trial(0, 33.5, 0.01), trial(1, 12.0, 0.01), trial(2, 5.0, 0.0095)]
    assert [one.number for one in different(trials, SPACE)] == [1, 2]
