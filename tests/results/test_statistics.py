"""What each statistic promises, held to it by simulation or by hand."""

import math

import numpy as np
import pytest

from results.errors import InvalidInputError
from results.run.queue_length import Steps
from results.run.steady_state import mann_kendall, mser5
from results.statistics.correction import holm, holm_adjusted
from results.statistics.correlated import (
    batch_means,
    block_bootstrap,
    discount,
    effective_number,
    mean_of,
    mean_of_means,
)
from results.statistics.shares import (
    Bounds,
    fewest_requests,
    percentile_interval,
    share_lower,
    share_upper,
)
from results.statistics.tail import TailEvidence, companion_of, evidence_of


def ar1(number, correlation, rng, runs=1):
    """Stationary sequences of standard normal values `[runs, number]`."""
    noise = rng.standard_normal((runs, number)) * math.sqrt(1.0 - correlation**2)
    values = np.empty((runs, number))
    values[:, 0] = rng.standard_normal(runs)
    for i in range(1, number):
        values[:, i] = correlation * values[:, i - 1] + noise[:, i]
    return values


@pytest.mark.parametrize(
    ("over", "number", "accepted"),
    [(0, 458, False), (0, 459, True), (1, 661, False), (1, 662, True), (2, 837, False),
     (2, 838, True)],
)  # fmt: skip
def test_loadgens_table_of_requests_that_suffice_is_reproduced(over, number, accepted):
    assert (share_upper(over / number, number, 0.01) <= 0.01) is accepted


def test_the_fewest_requests_for_a_percentile_are_those_of_the_power_rule():
    assert [fewest_requests(q, 0.01) for q in (0.5, 0.1, 0.01, 0.001)] == [7, 44, 459, 4603]


def test_bounds_on_a_share_enclose_it_and_meet_the_ends():
    assert share_lower(0.0, 50, 0.01) == 0.0
    assert share_upper(1.0, 50, 0.01) == 1.0
    assert share_upper(0.5, 0.0, 0.01) == 1.0
    rng = np.random.default_rng(1)
    seen = rng.binomial(300, 0.03, 4000) / 300
    assert np.mean([share_upper(s, 300, 0.01) < 0.03 for s in seen]) <= 0.01
    assert np.mean([share_lower(s, 300, 0.01) > 0.03 for s in seen]) <= 0.01


@pytest.mark.parametrize(
    ("over", "number"), [(0, 50), (1, 50), (3, 200), (40, 60), (199, 200), (60, 60)]
)
@pytest.mark.parametrize("alpha", [0.005, 0.01, 0.05])
def test_bounds_on_a_share_are_those_of_clopper_and_pearson(over, number, alpha):
    from scipy.stats import binomtest

    exact = binomtest(over, number).proportion_ci(1.0 - 2.0 * alpha, "exact")
    assert share_lower(over / number, number, alpha) == pytest.approx(exact.low)
    assert share_upper(over / number, number, alpha) == pytest.approx(exact.high)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 20, 60, 100, 459, 1000])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.98, 0.999])
def test_an_interval_for_a_percentile_has_the_ranks_that_the_binomial_gives(
    number, level, confidence
):
    from scipy.stats import binom

    half = (1.0 - confidence) / 2.0
    # Of the ranks 1..N as values: the largest that is low enough, the smallest that is high enough.
    low = [k for k in range(1, number + 1) if binom.cdf(k - 1, number, level) <= half]
    high = [k for k in range(1, number + 1) if binom.sf(k - 1, number, level) <= half]
    bounds = percentile_interval(np.arange(1.0, number + 1), level, confidence)
    assert bounds == Bounds(max(low, default=None), min(high, default=None))
    # Values that come four times over are worth no more, and ranks are taken in proportion.
    alike = np.arange(1.0, 4 * number + 1)
    bounds = percentile_interval(alike, level, confidence, number=number + 0.9)
    assert bounds.low == (4 * max(low) if low else None)
    assert bounds.high == (4 * min(high) if high else None)


def test_an_interval_needs_one_independent_value():
    values = np.arange(1.0, 10.0)
    assert percentile_interval(values, 0.5, 0.9, number=0.9) == Bounds(None, None)
    assert percentile_interval(values, 0.5, 0.9, number=99.0) == percentile_interval(
        values, 0.5, 0.9
    )


@pytest.mark.parametrize(("level", "number"), [(0.5, 40), (0.9, 200), (0.99, 1500)])
def test_an_interval_for_a_percentile_covers_it_as_often_as_it_says(level, number):
    rng = np.random.default_rng(2)
    truth = -math.log(1.0 - level)
    covered = 0
    for _ in range(1500):
        bounds = percentile_interval(np.sort(rng.exponential(1.0, number)), level, 0.95)
        covered += bounds.low <= truth <= bounds.high
    assert 0.945 <= covered / 1500 <= 0.99


def test_too_few_values_leave_a_percentile_without_an_upper_bound():
    values = np.arange(1.0, 459.0)
    assert percentile_interval(values, 0.99, 0.98).high is None
    assert percentile_interval(np.append(values, 459.0), 0.99, 0.98).high == 459.0
    assert percentile_interval(np.empty(0), 0.99, 0.98).low is None
    for level in (0.0, 1.0):
        with pytest.raises(
            InvalidInputError, match=f"level must be between 0 and 1, but got {level:g}"
        ):
            percentile_interval(values, level, 0.98)


def test_a_smaller_effective_number_widens_the_interval():
    values = np.sort(np.random.default_rng(3).exponential(1.0, 5000))
    wide, narrow = (percentile_interval(values, 0.9, 0.99, number=n) for n in (300, 5000))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_independent_values_count_in_full_and_repeated_ones_once():
    rng = np.random.default_rng(4)
    full = [effective_number(rng.random(20_000) < 0.1) for _ in range(200)]
    assert 0.8 * 20_000 < np.median(full) <= 20_000
    tenfold = [effective_number(np.repeat(rng.random(2000) < 0.1, 10)) for _ in range(200)]
    assert 1600 < np.median(tenfold) < 2500


def test_the_discounted_number_is_too_large_in_one_run_of_twenty():
    rng = np.random.default_rng(5)
    # Blocks of 50 alike: 400 independent values in 20,000.
    worth = [
        discount() * effective_number(np.repeat(rng.random(400) < 0.3, 50)) for _ in range(3000)
    ]
    assert discount() == pytest.approx(0.532, abs=0.001)
    assert 0.03 < np.mean(np.array(worth) > 400) < 0.07


def test_nothing_over_the_limit_shows_no_variance_and_counts_in_full():
    assert effective_number(np.zeros(1000, dtype=bool)) == 1000
    assert effective_number(np.zeros(20, dtype=bool)) == 20
    assert effective_number(np.zeros(19, dtype=bool)) == 0


def test_as_many_values_as_batches_are_enough():
    # Each is a batch of its own: p (1 - p) / (20/19 p (1 - p) / 20) = 19.
    assert effective_number(np.repeat([True, False], 10)) == pytest.approx(19.0)
    assert mean_of(np.arange(20.0)).value == 9.5
    bounds = block_bootstrap(np.ones(20), None, 0.95, draws=10)
    assert (bounds.low, bounds.high) == (1.0, 1.0)


def test_batch_means_cover_the_mean_of_correlated_values_as_often_as_they_say():
    rng = np.random.default_rng(6)
    values = ar1(4000, 0.9, rng, runs=1500)
    covered = [b.low <= 0.0 <= b.high for b in (mean_of(v).bounds(0.95) for v in values)]
    assert 0.93 <= np.mean(covered) <= 0.97
    naive = np.abs(values.mean(axis=1)) < 1.96 * values.std(axis=1) / math.sqrt(4000)
    assert naive.mean() < 0.5  # what taking them for independent does


def test_the_error_of_a_mean_is_that_of_a_sample_of_batches():
    # 1, 2 and 6 have the sample variance 7; of three the mean has a third of it.
    mean = mean_of_means(np.array([1.0, 2.0, 6.0]))
    assert (mean.value, mean.batches) == (3.0, 3)
    assert mean.standard_error == pytest.approx(math.sqrt(7.0 / 3.0))


def test_the_effective_number_is_the_variance_of_one_over_that_of_the_mean():
    # Batches of 10, two of them with 5 yes and two with none: p = 1/4, and their means have the
    # sample variance 1/12, the mean of four 1/48: (1/4 * 3/4) / (1/48) = 9.
    batches = np.repeat([1, 0, 1, 0, 0, 0], [5, 5, 5, 5, 10, 10])
    assert effective_number(batches, batches=4) == pytest.approx(9.0)


def test_batches_are_cut_from_the_end_and_need_a_value_each():
    assert batch_means(np.arange(7.0), 3).tolist() == [1.5, 3.5, 5.5]
    with pytest.raises(InvalidInputError, match="values must be 20 or more, but got 19"):
        mean_of(np.zeros(19))


class TestTailEvidence:
    ENOUGH = float(fewest_requests(0.01, 0.01))  # for a p99 at 99 %, with none over it
    HARDLY = float(fewest_requests(0.06, 0.01))  # for six times the share, and no less

    @pytest.mark.parametrize(
        ("changed", "met"),
        [
            ({}, True),  # all three numbers suffice
            ({"worth": ENOUGH - 1}, False),
            ({"companion": ENOUGH - 1}, False),  # bursts that have not reached the limit count
            ({"longest": ENOUGH - 1}, False),  # and so does how short the run was
            # To spare: half the limit was kept as well, and that is believed of a short run ...
            ({"longest": 0.0, "half_share": 0.0, "half_worth": ENOUGH}, True),
            ({"longest": 0.0, "half_share": 0.0, "half_worth": ENOUGH - 1}, False),
            # ... but not of one that has bursts.
            (
                {"longest": 0.0, "companion": ENOUGH - 1, "half_share": 0.0, "half_worth": ENOUGH},
                False,
            ),
            # By the tail: of half the limit six times the share is enough, and no more than that.
            ({"companion": HARDLY, "half_share": 0.0, "half_worth": HARDLY}, True),
            ({"companion": HARDLY - 1, "half_share": 0.0, "half_worth": HARDLY}, False),
            ({"companion": HARDLY, "half_share": 0.0, "half_worth": HARDLY - 1}, False),
            # The limit itself has to be kept by a run that is long enough.
            (
                {"companion": HARDLY, "half_share": 0.0, "half_worth": HARDLY, "longest": 458.0},
                False,
            ),
            ({"companion": HARDLY, "half_share": 0.0, "half_worth": HARDLY, "worth": 458.0}, False),
        ],
    )
    def test_there_are_three_ways_to_meet_a_limit(self, changed, met):
        numbers = dict.fromkeys(("worth", "companion", "longest"), self.ENOUGH)
        evidence = TailEvidence(allowed=0.01, share=0.0, **numbers | changed)
        assert evidence.met(0.01) is met

    @pytest.mark.parametrize(
        ("worth", "companion", "missed"),
        [
            (2000.0, 2000.0, True),  # 40 of 2,000 were over the limit, where 20 may
            (200.0, 2000.0, False),  # 4 of 200 may be chance
            (2000.0, 200.0, False),  # and so may 40 that are worth no more by their bursts
        ],
    )
    def test_a_limit_is_missed_by_what_the_smaller_number_shows(self, worth, companion, missed):
        evidence = TailEvidence(0.01, 0.02, worth, companion, longest=0.0)
        assert evidence.missed(0.01) is missed

    def test_a_longer_run_alike_would_have_as_many_more(self):
        few = TailEvidence(0.01, 0.02, 200.0, 200.0, longest=200.0)
        assert few.missed(0.01, scale=10.0)
        none = TailEvidence(0.01, 0.0, 200.0, 200.0, longest=200.0)
        assert (none.met(0.01, scale=2.2), none.met(0.01, scale=2.3)) == (False, True)


@pytest.mark.parametrize(
    ("values", "allowed", "over"),
    [
        (np.arange(1000.0), 0.01, 49),  # over the own p95, where 1 % may be over the limit
        (np.arange(1000.0), 0.05, 249),  # five times what may
        (np.arange(1000.0), 0.3, 499),  # and never more than half
        (np.arange(30.0), 0.01, 1),  # 95 % of 30 lie at or below the 29th and not the 28th
        (np.arange(5.0), 0.3, 2),  # and of five the third is the median
        (np.where(np.arange(1000) < 900, 1.0, math.inf), 0.01, 100),  # without an answer instead
        (np.empty(0), 0.01, 0),
    ],
)
def test_what_is_over_the_runs_own_percentile_tells_of_bursts(values, allowed, over):
    assert companion_of(values, allowed).sum() == over


def test_of_no_requests_none_is_over_a_limit():
    nothing = np.zeros(0, dtype=bool)
    evidence = evidence_of(nothing, nothing, 0.01, 10.0, half=nothing)
    assert (evidence.share, evidence.half_share) == (0.0, 0.0)
    assert (evidence.effective, evidence.half_worth) == (0.0, 0.0)


def test_a_block_bootstrap_covers_mean_and_percentile_of_correlated_values():
    rng = np.random.default_rng(7)
    values = ar1(2000, 0.8, rng, runs=200)
    for level, truth in ((None, 0.0), (0.9, 1.2816)):
        bounds = [block_bootstrap(v, level, 0.95, draws=200, seed=1) for v in values]
        covered = np.mean([b.low <= truth <= b.high for b in bounds])
        assert 0.86 <= covered <= 0.98  # 20 blocks undercover somewhat, as is known of it
    again = block_bootstrap(values[0], 0.9, 0.95, draws=200, seed=1)
    assert again == block_bootstrap(values[0], 0.9, 0.95, draws=200, seed=1)


def test_mser_cuts_a_transient_and_leaves_a_steady_sequence_alone():
    rng = np.random.default_rng(8)
    steady = rng.standard_normal(1000)
    transient = steady + 8.0 * np.exp(-np.arange(1000) / 40.0)
    assert 50 <= mser5(transient) <= 250
    assert np.median([mser5(rng.standard_normal(1000)) for _ in range(50)]) < 200
    assert mser5(np.ones(19)) == 0


@pytest.mark.parametrize(
    ("batch_means", "cut"),
    [
        # Each standard error is that of what is left from there on: the least is the third's.
        ([9.0, 5.0, 1.0, 2.0, 1.0, 2.0], 10),  # sqrt of 57.3/36, 10.8/25, 1/16, 2/3/9
        # The least is the last one's that may be cut, half of them: no steady part was found.
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 15),  # 17.5/36, 10/25, 5/16, 2/9
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 0),  # 1.5/36, 1.2/25, 1/16, 2/3/9: steady throughout
        ([1.0, 1.0, 9.0, 9.0], 10),  # four batches are the fewest: 64/16, 42.7/9, 0/4
    ],
)
def test_mser_cuts_where_the_rest_has_the_least_standard_error(batch_means, cut):
    # Within a batch of five the values average out; the last two fill no batch.
    values = [mean + part for mean in batch_means for part in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    assert mser5(np.array([*values, 100.0, -100.0])) == cut


def test_a_trend_is_found_and_its_rise_measured():
    rng = np.random.default_rng(9)
    trend = mann_kendall(np.linspace(1.0, 3.0, 20) + 0.1 * rng.standard_normal(20))
    assert trend.p_value < 1e-6
    assert trend.rise == pytest.approx(2.0, abs=0.2)
    assert trend.level == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("values", "p_value", "rise", "level"),
    [
        # All 28 pairs rise: z = 27 / sqrt(8 * 7 * 21 / 18).
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8.366e-4, 7.0, 3.5),
        ([21.0, 18.0, 15.0, 12.0, 9.0, 6.0, 3.0, 0.0], 8.366e-4, -21.0, 10.5),
        # S = 4 - 12, and half of the slopes or more are 0 or less. The lag-1 correlation is 1/8,
        # 5/16 without its bias, and multiplies the variance by 1.7438.
        ([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], 0.5120, 0.0, 0.5),
    ],
)
def test_a_trend_small_enough_to_work_out_by_hand(values, p_value, rise, level):
    trend = mann_kendall(np.array(values))
    assert trend.p_value == pytest.approx(p_value, rel=1e-3)
    assert (trend.rise, trend.level) == (rise, level)


@pytest.mark.parametrize(
    ("correlation", "level", "most"),
    [(0.0, 0.05, 0.05), (0.4, 0.05, 0.1), (0.7, 0.05, 0.15), (0.4, 0.001, 0.004),
     (0.7, 0.001, 0.015)],
)  # fmt: skip
def test_autocorrelation_is_seldom_taken_for_a_trend(correlation, level, most):
    values = ar1(20, correlation, np.random.default_rng(10), runs=1500)
    assert np.mean([mann_kendall(v).p_value < level for v in values]) <= most


def test_equal_values_have_no_trend():
    assert mann_kendall(np.ones(20)).p_value == 1.0


def test_holm_keeps_the_error_of_all_answers_together():
    rng = np.random.default_rng(11)
    p_values = rng.random((4000, 5))
    wrong = [any(holm(row, lambda p, a: p <= a, bool, 0.05)) for row in p_values]
    assert np.mean(wrong) <= 0.055


def test_holm_relaxes_the_level_once_a_question_is_decided():
    # 0.03 fails at 0.05 / 2 and passes at 0.05, once the other is out of the way.
    assert holm([0.001, 0.03], lambda p, a: p <= a, bool, 0.05) == [True, True]
    assert holm([0.03, 0.04], lambda p, a: p <= a, bool, 0.05) == [False, False]
    assert holm([], lambda p, a: p <= a, bool, 0.05) == []


def test_the_mean_of_steps_is_their_integral():
    steps = Steps(np.array([1.0, 2.0, 4.0]), np.array([2, 1, 0]))
    assert steps.means(np.array([0.0, 1.0, 2.0, 5.0])).tolist() == [0.0, 2.0, pytest.approx(2 / 3)]
    assert Steps(np.empty(0), np.empty(0, int)).means(np.array([0.0, 1.0])).tolist() == [0.0]


def test_holm_multiplies_the_smallest_by_all_and_never_lets_a_larger_one_be_smaller():
    assert holm_adjusted([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm_adjusted([]) == []
