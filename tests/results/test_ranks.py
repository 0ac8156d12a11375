"""Percentiles by nearest rank."""

import math
from fractions import Fraction

import pytest

from results.statistics.ranks import nearest_rank


@pytest.mark.parametrize(
    ("share", "count", "rank"),
    [
        pytest.param(0.07, 100, 7, id="exact where floating point is not"),
        pytest.param(0.5, 2, 1, id="the lower of two in the middle"),
        pytest.param(0.99, 101, 100, id="rounded up"),
        pytest.param(1.0, 5, 5, id="the largest"),
        pytest.param(0.0, 5, 1, id="no less than the smallest"),
        pytest.param(0.5, 0, 0, id="none of nothing"),
    ],
)
def test_the_rank_of_a_percentile(share, count, rank):
    assert nearest_rank(share, count) == rank


def test_it_is_the_least_rank_that_so_large_a_share_does_not_exceed():
    for per_mille in range(1, 1001):
        for count in (1, 7, 10, 999, 1000, 1001):
            exact = math.ceil(Fraction(per_mille, 1000) * count)
            assert nearest_rank(per_mille / 1000, count) == exact
