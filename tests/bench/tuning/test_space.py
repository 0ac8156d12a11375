"""What is searched: the default space, what --search says in its place, and what is refused."""

import pytest

from bench.errors import InputError
from bench.settings import BatcherSettings
from bench.tuning.request import Question
from bench.tuning.search.selection import simplicity
from bench.tuning.search.space import (
    Choice,
    Steps,
    Whole,
    largest_useful_batch,
    make_space,
    typical_s,
)
from tests.bench.tuning.tuned import affine, p99, roofline

MS = 1e-3


def space(*texts, base=None, source=None, **kwargs):
    return make_space(texts, base or BatcherSettings(), source or roofline(), **kwargs)


def test_batch_size_and_timeout_are_searched_unless_told_otherwise():
    assert list(space().ranges) == ["max_batch_size", "batch_timeout_ms"]


def test_batch_sizes_go_to_the_largest_known_on_a_logarithmic_scale():
    assert space().ranges["max_batch_size"] == Whole(1, 256, log=True)


def test_a_timeout_of_zero_can_be_hit_exactly_and_values_are_readable():
    timeouts = space().ranges["batch_timeout_ms"]
    assert isinstance(timeouts, Steps)
    assert timeouts.holds(0.0)
    assert timeouts.step in {0.1, 0.2, 0.5, 1.0, 2.0}


def test_without_an_slo_nobody_is_held_longer_than_four_of_the_largest_useful_batches():
    source = roofline()
    bound_ms = 4e3 * typical_s(source, largest_useful_batch(source))
    timeouts = space(source=source).ranges["batch_timeout_ms"]
    assert bound_ms - timeouts.step <= timeouts.high <= bound_ms


def test_with_device_time_as_the_object_holding_is_bounded_by_what_the_slo_leaves():
    # T(1) is 4.5 ms, so of 200 ms 195.5 are left, which four of the largest batches would not use.
    patient = space(slo_s=0.2, patient=True).ranges["batch_timeout_ms"]
    assert 193.5 <= patient.high <= 195.5
    assert space(slo_s=0.2).ranges["batch_timeout_ms"].high < 100.0


def test_an_slo_below_the_time_of_a_lone_request_leaves_something_to_search_all_the_same():
    assert space(slo_s=0.001, patient=True).ranges["batch_timeout_ms"].high > 0.0


def test_the_largest_useful_batch_is_where_the_rate_stops_rising():
    source = affine()
    useful = largest_useful_batch(source)
    best_rps = 256 / typical_s(source, 256)
    assert useful / typical_s(source, useful) >= 0.98 * best_rps
    assert (useful - 1) / typical_s(source, useful - 1) < 0.98 * best_rps


def test_the_largest_useful_batch_fits_the_slo():
    assert typical_s(roofline(), largest_useful_batch(roofline(), 6 * MS)) <= 6 * MS


def test_every_knob_can_be_searched_by_range_or_by_list():
    found = space(
        "policy=timeout,deadline",
        "max_batch_size=4:64",
        "batch_timeout_ms=0:5",
        "in_flight=1,2",
        "replicas=1:4",
        "max_queue_size=16:256",
        "deadline_ms=20:100",
        slo_s=0.05,
    ).ranges
    assert found["policy"] == Choice(("timeout", "deadline"))
    assert found["max_batch_size"] == Whole(4, 64, log=True)
    assert found["batch_timeout_ms"] == Steps(0.0, 5.0, 0.05)
    assert found["in_flight"] == Choice((1, 2))
    assert found["replicas"] == Whole(1, 4)
    assert found["max_queue_size"] == Whole(16, 256, log=True)
    assert isinstance(found["deadline_ms"], Steps)


def test_a_range_of_one_value_fixes_the_knob():
    assert space("max_batch_size=16:16").ranges["max_batch_size"] == Choice((16,))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["batch=1:4"], "KNOB=LOW:HIGH"),
        (["max_batch_size"], "KNOB=LOW:HIGH"),
        (["in_flight=1", "in_flight=2"], "there twice"),
        (["max_batch_size=8:4"], "low <= high"),
        (["max_batch_size=1:4:2"], "low:high"),
        (["max_batch_size=many"], "whole numbers"),
        (["max_batch_size=2.5"], "whole numbers"),
        (["batch_timeout_ms=0:inf"], "of numbers"),
        (["batch_timeout_ms=-1:5"], "batch_timeout_ms"),
        (["in_flight=3"], "in_flight"),
        (["policy="], "must have values"),
        (["max_batch_size=1:5000"], "at most 4096"),
        (["policy=deadline"], "with an SLO"),
        (["policy=deadline", "batch_timeout_ms=0:5"], "has a use for it"),
        (["min_wait_ms=0:5"], "preferred_batch_sizes"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_in_one_line(texts, said):
    with pytest.raises(InputError) as caught:
        space(*texts)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_knob_that_the_policy_has_no_use_for_is_not_searched_for_it():
    found = space("policy=deadline", slo_s=0.05)
    assert "batch_timeout_ms" not in found.ranges


def test_a_policy_that_needs_an_slo_is_given_the_one_that_is_searched_for():
    found = space("policy=deadline", slo_s=0.05)
    assert found.settings({"policy": "deadline", "max_batch_size": 8}).slo_ms == 50.0


def test_settings_go_to_knobs_and_back():
    here = space("in_flight=1,2")
    knobs = {"max_batch_size": 16, "batch_timeout_ms": 3.0, "in_flight": 2}
    assert here.knobs_of(here.settings(knobs)) == knobs


@pytest.mark.parametrize(
    "settings",
    [
        BatcherSettings(max_batch_size=4096),  # beyond the range
        BatcherSettings(batch_timeout_ms=3.3333),  # between two steps
        BatcherSettings(policy="window"),  # another policy than the base's
        BatcherSettings(deadline_ms=5.0),  # a knob that is not searched
    ],
)
def test_settings_that_the_space_does_not_hold_have_no_knobs(settings):
    assert space().knobs_of(settings) is None


def test_settings_are_simpler_with_fewer_knobs_then_no_timeout_then_a_smaller_batch():
    ordered = [
        BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0),
        BatcherSettings(max_batch_size=64, batch_timeout_ms=0.0),
        BatcherSettings(max_batch_size=8, batch_timeout_ms=1.0),
        BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0, in_flight=2),
        BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0, in_flight=2, max_queue_size=9),
    ]
    mixed = [ordered[i] for i in (3, 0, 4, 2, 1)]
    assert sorted(mixed, key=simplicity) == ordered


def test_references_are_the_plain_the_default_the_window_and_the_current_setting():
    current = BatcherSettings(max_batch_size=7)
    found = Question(current=current, limit=p99(50)).references(roofline())
    assert found["current"] == current
    assert (found["default"].max_batch_size, found["default"].batch_timeout_ms) == (32, 10.0)
    assert found["window"].policy == "window"
    assert found["no delay"].batch_timeout_ms == 0.0
    assert typical_s(roofline(), found["no delay"].max_batch_size) <= 50 * MS


def test_every_tuning_names_the_other_settings_worth_knowing():
    assert list(Question(limit=p99(50)).goals) == ["most capacity", "fastest", "cheapest"]
    assert list(Question().goals) == ["fastest"]
    asked = Question(limit=p99(50), objective="device-time")
    assert list(asked.goals) == ["cheapest", "fastest", "most capacity"]
