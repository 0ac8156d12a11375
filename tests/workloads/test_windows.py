"""Windows picked by rule: the stated rank, ties by seed, none overlapping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import Trace, TraceError, WindowRule, pick_windows, window_at


def counted(*counts, spacing_s=1.0):
    """A trace with so many arrivals in each second, evenly spread within it."""
    arrival_s = [i + (j + 0.5) / n for i, n in enumerate(counts) for j in range(n)]
    return Trace(np.array(arrival_s) * spacing_s, len(counts) * spacing_s, name="made")


# 1, 2, ... 100 arrivals in the seconds of a trace, in a shuffled order
SHUFFLED = np.random.default_rng(5).permutation(np.arange(1, 101))
RAMP = counted(*SHUFFLED)


def brute_force(trace, length_s):
    """Start and number of arrivals of every candidate, one by one."""
    starts_s = []
    while (len(starts_s) * length_s / 4 + length_s) <= trace.duration_s + 1e-9:
        starts_s.append(len(starts_s) * length_s / 4)
    arrival_s = trace.arrival_s
    return [(s, int(((arrival_s >= s) & (arrival_s < s + length_s)).sum())) for s in starts_s]


@pytest.mark.parametrize(
    ("rule", "percentile"),
    [
        ({"pick": "busy"}, 95),
        ({"pick": "quiet"}, 5),
        ({"percentile": 100.0}, 100),
        ({"percentile": 0.0}, 0),
        ({"percentile": 50.0}, 50),
    ],
)
@pytest.mark.parametrize("length_s", [1.0, 4.0, 30.0])
def test_a_window_has_the_stated_rank_among_all_candidates(rule, percentile, length_s):
    candidates = brute_force(RAMP, length_s)
    ordered = sorted(requests for _, requests in candidates)
    rank = max(1, -(-percentile * len(ordered) // 100))
    (window,) = pick_windows(RAMP, WindowRule(length_s, **rule))
    assert window.requests == ordered[rank - 1]
    assert (window.start_s, window.requests) in candidates
    assert window.candidates == len(candidates)
    assert window.fewer == sum(requests < window.requests for requests in ordered)
    assert window.as_many == ordered.count(window.requests)
    assert window.fewer + window.as_many + window.more == len(ordered)
    assert window.median_requests == np.median(ordered)


def test_a_window_becomes_a_trace_of_its_own_with_its_tokens():
    made = Trace([0.0, 1.0, 5.0, 9.0], 10.0, input_tokens=[1, 2, 3, 4])
    part = window_at(made, 4.0, 4.0).of(made)
    assert (part.arrival_s.tolist(), part.input_tokens.tolist()) == ([1.0], [3])
    assert part.duration_s == 4.0
    assert part.source["operations"] == [{"operation": "window", "start_s": 4.0, "length_s": 4.0}]


def test_the_window_of_the_whole_trace_is_the_whole_trace():
    made = Trace([0.0, 1.0, 10.0], 10.0)
    for pick in ("busy", "quiet", "typical", "random"):
        (window,) = pick_windows(made, WindowRule(10.0, pick))
        assert window.of(made).arrival_s.tolist() == [0.0, 1.0, 10.0]
        assert (window.requests, window.candidates) == (3, 1)


def test_typical_is_near_the_median_in_number_and_in_dispersion():
    # 40 seconds of 20 even arrivals, but 20 at once in second 7, and 60 in second 11
    counts = [20] * 40
    counts[11] = 60
    arrival_s = counted(*counts).arrival_s
    arrival_s = np.sort(np.where((arrival_s >= 7) & (arrival_s < 8), 7.5, arrival_s))
    made = Trace(arrival_s, 40.0)
    for seed in range(20):
        (window,) = pick_windows(made, WindowRule(1.0, "typical", seed=seed))
        assert window.requests == 20
        assert not 6 < window.start_s < 8
        assert not 10 < window.start_s < 12


def test_ties_are_decided_by_the_seed_and_by_nothing_else():
    flat = counted(*[5] * 40)
    starts = [
        pick_windows(flat, WindowRule(4.0, "busy", seed=seed))[0].start_s for seed in range(20)
    ]
    again = [
        pick_windows(flat, WindowRule(4.0, "busy", seed=seed))[0].start_s for seed in range(20)
    ]
    assert starts == again
    assert len(set(starts)) > 5


def test_random_takes_each_candidate_as_often():
    made = counted(1, 2, 3, 4)
    starts = [
        pick_windows(made, WindowRule(2.0, "random", seed=seed))[0].start_s for seed in range(500)
    ]
    values, counts = np.unique(starts, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    # binomial(500, 1/5): five standard deviations
    assert np.abs(counts - 100).max() < 5 * np.sqrt(500 * 0.16)


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=4, max_size=40),
    pick=st.sampled_from(["busy", "quiet", "typical", "random"]),
    count=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_several_windows_never_overlap_and_the_first_is_the_one_of_one(counts, pick, count, seed):
    made = counted(*counts)
    rule = WindowRule(2.0, pick, seed=seed)
    try:
        windows = pick_windows(made, rule, count)
    except TraceError:
        # One window rules out those that start within its length before and after it.
        assert len(counts) < 2 * (2 * count - 1)
        return
    starts_s = sorted(window.start_s for window in windows)
    assert len(windows) == count
    assert (np.diff(starts_s) >= 2.0).all()
    assert windows[0] == pick_windows(made, rule)[0]
    for window in windows:
        assert len(window.of(made)) == window.requests


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WindowRule(0.0), "length_s must be > 0"),
        (lambda: WindowRule(1.0, "loud"), "pick must be one of busy, quiet, typical, random, but "
                                          "got 'loud'"),
        (lambda: WindowRule(1.0, percentile=101.0), "percentile must be between 0 and 100"),
        (lambda: WindowRule(1.0, seed=-1), "seed must be >= 0"),
        (lambda: pick_windows(RAMP, WindowRule(101.0)), "a window must be at most as long as made, "
                                                        "100 s, but got 101 s"),
        (lambda: pick_windows(RAMP, WindowRule(1.0), 0), "count must be >= 1, but got 0"),
        (lambda: pick_windows(RAMP, WindowRule(60.0), 2), "2 windows of 60 s that do not overlap "
                                                          "must fit into made, but only 1 were"),
        (lambda: pick_windows(RAMP, WindowRule(1e-6)), "at most 50,000,000 twentieths"),
        (lambda: window_at(RAMP, 99.5, 1.0), "start must be between 0 and 99 s, where a window of "
                                             "1 s still fits, but got 99.5"),
        (lambda: window_at(RAMP, -1.0, 1.0), "but got -1"),
        (lambda: window_at(RAMP, 0.0, -1.0), "length_s must be > 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_picked_is_refused(make, message):
    with pytest.raises(TraceError, match=message):
        make()
