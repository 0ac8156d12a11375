import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import Trace, TraceError

ARRIVALS = st.lists(st.floats(0, 1e6), max_size=30).map(sorted)


def trace(*arrival_s, duration_s=10.0, **columns):
    return Trace(np.array(arrival_s, dtype=float), duration_s, **columns)


def test_columns_are_copied_and_read_only():
    mine = np.array([0.0, 1.0])
    made = Trace(mine, 2.0, input_tokens=np.array([3, 4]))
    mine[0] = 9.0
    assert made.arrival_s.tolist() == [0.0, 1.0]
    assert (made.arrival_s.dtype, made.input_tokens.dtype) == (np.float64, np.int32)
    with pytest.raises(ValueError, match="read-only"):
        made.arrival_s[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        made.input_tokens[0] = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        # an arrival before the one in front of it, with the place and both times
        (
            {"arrival_s": [0.1, 0.2, 0.5, 0.2]},
            "arrival_s must be non-decreasing, but arrival 3 (0.2 s) comes after 0.5 s",
        ),
        # two that six digits could not tell apart
        (
            {"arrival_s": [1.0000000002, 1.0000000001]},
            "arrival_s must be non-decreasing, but arrival 1 (1.0000000001 s) comes after "
            "1.0000000002 s",
        ),
        ({"arrival_s": [-1.0]}, "arrival_s must be >= 0, but arrival 0 is -1.0"),
        ({"arrival_s": [0.0, math.nan]}, "arrival_s must be finite, but arrival 1 is nan"),
        ({"arrival_s": [0.0, math.inf]}, "arrival_s must be finite, but arrival 1 is inf"),
        ({"arrival_s": ["0.5"]}, "arrival_s must be one row of numbers, but got shape (1,) of <U3"),
        (
            {"arrival_s": [[0.0, 1.0]]},
            "arrival_s must be one row of numbers, but got shape (1, 2) of float64",
        ),
        (
            {"arrival_s": [[0.0], 1.0]},
            "arrival_s must be one row of numbers, but got nested values",
        ),
        # a trace that ends before its last arrival
        (
            {"arrival_s": [3.0], "duration_s": 2.0},
            "duration_s must reach the last arrival at 3 s, but got 2",
        ),
        ({"arrival_s": [], "duration_s": -1.0}, "duration_s must be >= 0 and finite, but got -1"),
        (
            {"arrival_s": [], "duration_s": math.nan},
            "duration_s must be >= 0 and finite, but got nan",
        ),
        (
            {"arrival_s": [0.0], "input_tokens": [1, 2]},
            "input_tokens must have one entry for each of the 1 arrivals, but got 2",
        ),
        (
            {"arrival_s": [0.0, 1.0], "output_tokens": [5, -1]},
            "output_tokens must be between 0 and 2147483647, but request 1 has -1",
        ),
        (
            {"arrival_s": [0.0], "output_tokens": [2**31]},
            "output_tokens must be between 0 and 2147483647, but request 0 has 2147483648",
        ),
        (
            {"arrival_s": [0.0], "input_tokens": [1.5]},
            "input_tokens must be whole numbers, but got float64",
        ),
    ],
)
def test_contradictory_columns_are_refused_with_what_was_expected_and_what_came(fields, message):
    with pytest.raises(TraceError) as caught:
        Trace(**{"duration_s": 10.0} | fields)
    assert str(caught.value) == message


def test_rate_counts_the_silence_after_the_last_arrival():
    assert trace(0.0, 1.0, 2.0, duration_s=6.0).rate_rps == 0.5
    assert trace(duration_s=6.0).rate_rps == 0.0


def test_a_trace_that_spans_no_time_has_no_rate():
    assert math.isnan(trace(0.0, 0.0, duration_s=0.0).rate_rps)


def test_cv_is_that_of_the_gaps():
    # gaps 1 and 3: mean 2, standard deviation 1
    assert trace(0.0, 1.0, 4.0).cv == 0.5
    assert trace(0.0, 1.0, 2.0, 3.0).cv == 0.0


def test_cv_is_nan_where_there_are_too_few_gaps_or_no_time_between():
    assert math.isnan(trace().cv)
    assert math.isnan(trace(0.0, 1.0).cv)
    assert math.isnan(trace(2.0, 2.0, 2.0).cv)


def test_a_window_is_half_open_and_starts_at_zero():
    whole = trace(0.0, 1.0, 2.0, 3.0, input_tokens=[10, 11, 12, 13], output_tokens=[0, 1, 2, 3])
    part = whole.window(1.0, 3.0)
    assert part.arrival_s.tolist() == [0.0, 1.0]
    assert part.input_tokens.tolist() == [11, 12]
    assert part.output_tokens.tolist() == [1, 2]
    assert part.duration_s == 2.0
    assert whole.window(4.0, 5.0).duration_s == 1.0
    assert len(whole.window(4.0, 5.0)) == 0


@pytest.mark.parametrize(("start_s", "stop_s"), [(-1, 2), (2, 2), (3, 2), (0, 11), (math.nan, 2)])
def test_a_window_outside_the_trace_is_refused(start_s, stop_s):
    with pytest.raises(TraceError, match="a window must lie between 0 and 10 s"):
        trace(0.0, 1.0).window(start_s, stop_s)


@settings(deadline=None)
@given(ARRIVALS, st.lists(st.floats(0.01, 1e6), min_size=1, max_size=5))
def test_neighbouring_windows_share_no_arrival_and_lose_none(arrival_s, cuts):
    whole = Trace(arrival_s, 2e6)
    edges = sorted({0.0, *cuts, 2e6})
    parts = [whole.window(*edge) for edge in pairwise(edges)]
    assert sum(map(len, parts)) == len(whole)


def test_scaling_multiplies_every_time_so_that_two_plays_half_as_fast():
    slow = trace(0.0, 1.0, 2.0, duration_s=4.0, name="mine").scaled(2.0)
    assert slow.arrival_s.tolist() == [0.0, 2.0, 4.0]
    assert slow.duration_s == 8.0
    assert slow.name == "mine"


def test_at_rate_scales_time_to_the_mean_rate():
    fast = trace(0.0, 1.0, 4.0, duration_s=6.0).at_rate(5.0)
    assert fast.rate_rps == pytest.approx(5.0)
    assert fast.arrival_s.tolist() == pytest.approx([0.0, 0.1, 0.4])


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_time_and_rate_scale_by_positive_finite_factors_only(factor):
    with pytest.raises(TraceError, match="time_scale must be > 0 and finite"):
        trace(1.0).scaled(factor)
    with pytest.raises(TraceError, match="rate_rps must be > 0 and finite"):
        trace(1.0).at_rate(factor)


def test_spans_that_nobody_waits_for_are_refused():
    with pytest.raises(TraceError, match=r"duration_s must be at most 1e\+12 s, but got 1e\+300"):
        trace(duration_s=1e300)
    for factor in (1e300, 1e-300):
        with pytest.raises(TraceError, match="time_scale must keep the duration of 10 s between 1"):
            trace(1.0).scaled(factor)
        with pytest.raises(TraceError, match="rate_rps must keep the duration of 10 s between 1"):
            trace(1.0).at_rate(factor)


def test_a_trace_without_a_rate_cannot_be_given_another():
    with pytest.raises(TraceError, match="but got 0 requests over 10 s"):
        trace().at_rate(3.0)


def test_the_fingerprint_depends_on_every_column_and_on_nothing_else():
    plain = trace(0.0, 1.0)
    assert len(plain.fingerprint()) == 16
    assert plain.fingerprint() == trace(0.0, 1.0, duration_s=20.0, name="other").fingerprint()
    others = [
        trace(0.0, 1.5),
        trace(0.0),
        trace(0.0, 1.0, input_tokens=[1, 2]),
        trace(0.0, 1.0, output_tokens=[1, 2]),
        trace(0.0, 1.0, input_tokens=[1, 2], output_tokens=[1, 2]),
    ]
    assert len({t.fingerprint() for t in [plain, *others]}) == len(others) + 1
