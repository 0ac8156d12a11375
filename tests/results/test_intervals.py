import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from results.run.intervals import all_covered, coverage
from tests.results.made import same_draws

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12)


def covered_units(intervals):
    """The unit steps [k, k + 1) that lie inside an interval, the slow and obvious way."""
    return {step for start, length in intervals for step in range(start, start + length)}


def as_coverage(intervals):
    starts = np.array([start for start, _ in intervals], dtype=float)
    return coverage(starts, starts + np.array([length for _, length in intervals], dtype=float))


@same_draws
@given(spans)
def test_the_measure_of_a_union_counts_nothing_twice(intervals):
    cover = as_coverage(intervals)
    for end in (0.0, 7.0, 19.0, 50.0):
        expected = sum(1 for step in covered_units(intervals) if step < end)
        assert cover.between(0.0, end) == expected


@same_draws
@given(st.lists(spans, min_size=1, max_size=4), st.integers(1, 4))
def test_times_covered_by_several_parts_are_found(parts, count):
    units = [covered_units(part) for part in parts]
    shared = {s for s in range(50) if sum(s in part for part in units) >= count}
    both = all_covered([as_coverage(part) for part in parts], count)
    assert both.between(0.0, 50.0) == len(shared)


def test_intervals_without_an_end_cover_nothing():
    cover = coverage(np.array([0.0, 1.0, 5.0]), np.array([np.nan, 2.0, 4.0]))
    assert cover.between(0.0, 10.0) == 1.0
