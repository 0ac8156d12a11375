"""Statistics of paired comparisons, and by simulation that their promises hold."""

import math

import numpy as np
import pytest
from scipy import stats

from results.errors import InvalidInputError
from results.statistics.paired import (
    Plan,
    Verdict,
    claim_p,
    detectable,
    draws_needed,
    effect_of,
    sign_flip_p,
    verdict_of,
)


def looked_at(x, plan):
    """Mean, half width and p of every look at many comparisons at once, `[comparisons, looks]`."""
    means, halves, p_values = [], [], []
    for draws in plan.looks:
        some = x[:, :draws]
        mean, error = some.mean(1), some.std(1, ddof=1) / math.sqrt(draws)
        means.append(mean)
        halves.append(error * stats.t.ppf(1 - plan.level / 2, draws - 1))
        p_values.append(2 * stats.t.sf(np.abs(mean) / error, draws - 1))
    return np.stack(means, 1), np.stack(halves, 1), np.stack(p_values, 1)


def pairs_of(kind, comparisons, draws, *, effect=0.0, seed=1):
    """Log ratios with a standard deviation of 0.13, `[comparisons, draws]`."""
    rng = np.random.default_rng(seed)
    shape = (comparisons, draws)
    if kind == "heavy tails":
        noise = rng.standard_t(4, shape) / math.sqrt(2.0)
    elif kind == "a difference of skewed tails":
        noise = (rng.exponential(size=shape) - rng.exponential(size=shape)) / math.sqrt(2.0)
    elif kind == "rare slow phases of either arm":
        noise = rng.standard_normal(shape) + 2.0 * (
            (rng.random(shape) < 0.1).astype(float) - (rng.random(shape) < 0.1)
        )
        noise /= math.sqrt(1.0 + 4.0 * 0.18)
    else:
        noise = rng.standard_normal(shape)
    return effect + 0.13 * noise


KINDS = (
    "normal",
    "heavy tails",
    "a difference of skewed tails",
    "rare slow phases of either arm",
)


class TestPromises:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("draws", [4, 6, 10, 20, 40])
    def test_equal_arms_are_called_different_in_5_percent_of_comparisons_at_most(self, kind, draws):
        plan = Plan(draws=draws)
        _, _, p_values = looked_at(pairs_of(kind, 20_000, draws), plan)
        called = (p_values <= plan.level).any(1).mean()
        assert called <= 0.05 + 2.0 * math.sqrt(0.05 * 0.95 / 20_000)
        if kind == "normal":
            assert called > 0.035  # not bought by asking for too much

    @pytest.mark.parametrize("challengers", [2, 3])
    def test_several_challengers_share_the_5_percent(self, challengers):
        rng = np.random.default_rng(4)
        control = rng.standard_normal((20_000, 10))
        plan = Plan(draws=10, challengers=challengers)
        called = np.zeros(20_000, dtype=bool)
        for _ in range(challengers):
            x = rng.standard_normal((20_000, 10)) - control
            called |= (looked_at(x, plan)[2] <= plan.level).any(1)
        assert called.mean() <= 0.05 + 2.0 * math.sqrt(0.05 * 0.95 / 20_000)

    def test_looking_after_every_draw_would_not_keep_it(self):
        x = pairs_of("normal", 20_000, 10)
        looks = [looked_at(x, Plan(draws=k, exact=True))[2][:, 0] for k in range(3, 11)]
        assert 0.12 < (np.stack(looks) <= 0.05).any(0).mean() < 0.17

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_fixed_number_of_draws_covers_the_truth_in_93_to_97_percent(self, kind):
        effect = math.log(1.1)
        x = pairs_of(kind, 20_000, 10, effect=effect)
        mean, half, _ = looked_at(x, Plan(draws=10, exact=True))
        assert 0.93 <= (np.abs(mean - effect) <= half).mean() <= 0.97

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("effect", [0.0, 0.02, math.log(1.1), math.log(1.5)])
    def test_the_interval_at_a_stop_covers_the_truth_in_95_percent(self, kind, effect):
        plan = Plan(draws=10)
        x = pairs_of(kind, 20_000, 10, effect=effect)
        mean, half, _ = looked_at(x, plan)
        different = np.abs(mean) > half
        equivalent = np.abs(mean) + half < plan.log_margin
        stop = np.argmax(np.column_stack((different | equivalent, np.ones(len(x)))), axis=1)
        last = np.minimum(stop, len(plan.looks) - 1)
        rows = np.arange(len(x))
        covered = np.abs(mean[rows, last] - effect) <= half[rows, last]
        assert covered.mean() >= 0.95 - 2.0 * math.sqrt(0.05 * 0.95 / 20_000)

    def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent(self):
        plan = Plan(draws=10)
        x = pairs_of("normal", 20_000, 10, effect=plan.log_margin) * 0.3 + 0.7 * plan.log_margin
        mean, half, _ = looked_at(x, plan)
        assert (np.abs(mean) + half < plan.log_margin).any(1).mean() <= 0.05

    @pytest.mark.parametrize("draws", [4, 10])
    def test_the_detectable_difference_is_found_as_often_as_promised(self, draws):
        plan = Plan(draws=draws, exact=True)
        smallest = detectable(0.13, draws, plan.level)
        x = pairs_of("normal", 20_000, draws, effect=smallest)
        assert (looked_at(x, plan)[2] <= plan.level).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("draws", [2, 3, 4, 10, 40, 1000])
@pytest.mark.parametrize(("level", "power"), [(0.05, 0.8), (0.0069, 0.9), (0.05, 0.5)])
def test_at_the_detectable_difference_a_t_test_rejects_with_that_probability(draws, level, power):
    smallest = detectable(0.13, draws, level, power)
    beyond = stats.t.ppf(1.0 - level / 2.0, draws - 1)
    found = stats.nct.sf(beyond, draws - 1, smallest * math.sqrt(draws) / 0.13)
    assert found == pytest.approx(power, abs=1e-5)


class TestEffect:
    def test_is_the_mean_log_ratio_with_students_interval(self):
        x = [0.1, 0.3, 0.2, 0.25]
        effect = effect_of(x, 0.05)
        low, high = stats.t.interval(0.95, 3, loc=np.mean(x), scale=stats.sem(x))
        assert (effect.low, effect.high) == (pytest.approx(low), pytest.approx(high))
        assert effect.p == pytest.approx(stats.ttest_1samp(x, 0.0).pvalue)
        assert effect.ratio == pytest.approx(math.exp(0.2125))

    def test_equal_pairs_have_no_noise_and_no_difference(self):
        effect = effect_of([0.0] * 4)
        assert (effect.low, effect.high, effect.p) == (0.0, 0.0, 1.0)
        assert verdict_of(effect, Plan(), -1) is Verdict.EQUIVALENT
        assert draws_needed(effect, Plan()) == 2

    def test_pairs_that_all_differ_by_the_same_leave_no_doubt(self):
        assert effect_of([0.2] * 4).p == 0.0

    @pytest.mark.parametrize("x", [[], [0.1], [0.1, math.nan], [0.1, math.inf]])
    def test_takes_two_finite_values_or_more(self, x):
        with pytest.raises(InvalidInputError, match="2 finite log ratios or more"):
            effect_of(x)

    def test_the_verdict_and_the_p_value_of_the_claim_agree(self):
        rng = np.random.default_rng(2)
        plan = Plan(draws=6, exact=True)
        seen = set()
        for _ in range(400):
            x = rng.normal(rng.choice([0.0, 0.02, 0.3]), rng.choice([0.01, 0.1]), 6)
            effect = effect_of(x, plan.level)
            verdict = verdict_of(effect, plan, -1)
            seen.add(verdict)
            assert (verdict is not Verdict.INCONCLUSIVE) == (claim_p(effect, plan) <= plan.level)
        assert seen == set(Verdict) - {Verdict.DIFFERENT}


class TestVerdict:
    @pytest.mark.parametrize(
        ("low", "high", "direction", "verdict"),
        [
            (0.10, 0.20, -1, Verdict.WORSE),  # a latency that is higher
            (-0.2, -0.1, -1, Verdict.BETTER),  # a latency that is lower
            (0.10, 0.20, +1, Verdict.BETTER),  # a throughput that is higher
            (-0.2, -0.1, +1, Verdict.WORSE),
            (0.10, 0.20, 0, Verdict.DIFFERENT),  # a batch size is neither
            (-0.02, 0.03, -1, Verdict.EQUIVALENT),
            (0.01, 0.03, -1, Verdict.EQUIVALENT),  # shown, and too small to matter
            (0.01, 0.09, -1, Verdict.WORSE),  # shown, perhaps small
            (-0.02, 0.09, -1, Verdict.INCONCLUSIVE),
            (-0.30, 0.30, -1, Verdict.INCONCLUSIVE),
        ],
    )
    def test_follows_from_where_the_interval_lies(self, low, high, direction, verdict):
        middle, half = (low + high) / 2, (high - low) / 2
        t = stats.t.ppf(0.975, 3)
        spread = half / t * 2.0 / math.sqrt(4.0 / 3.0)
        effect = effect_of([middle - spread, middle + spread] * 2, 0.05)
        assert (effect.low, effect.high) == (pytest.approx(low), pytest.approx(high))
        assert verdict_of(effect, Plan(), direction) is verdict


class TestSignFlip:
    def test_says_nothing_of_fewer_than_six_pairs(self):
        assert sign_flip_p([0.1] * 5) is None

    def test_six_pairs_of_one_sign_are_the_rarest_pattern(self):
        assert sign_flip_p([0.1, 0.2, 0.15, 0.3, 0.12, 0.2]) == 2 / 64

    def test_agrees_with_the_permutation_test_of_scipy(self):
        x = np.random.default_rng(3).normal(0.05, 0.1, 9)
        theirs = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=512)
        assert sign_flip_p(x) == pytest.approx(theirs.pvalue)

    def test_of_many_pairs_is_near_that_of_students_t(self):
        x = np.random.default_rng(5).normal(0.04, 0.1, 30)
        assert sign_flip_p(x) == pytest.approx(stats.ttest_1samp(x, 0.0).pvalue, abs=0.01)

    def test_of_many_pairs_of_one_sign_is_small_but_never_nothing(self):
        # Of 16,384 random patterns none is like the one that was seen, which is one of all.
        assert sign_flip_p([0.1] * 40) == 1 / 16385


class TestPlan:
    @pytest.mark.parametrize(
        ("draws", "looks", "level"),
        [
            (2, (2,), 0.05),
            (4, (4,), 0.05),
            (8, (4, 6, 8), 0.0216),
            (10, (4, 6, 8, 10), 0.018),
            (12, (4, 6, 8, 10, 12), 0.015),
        ],
    )
    def test_looks_seldom_and_each_time_at_a_lower_level(self, draws, looks, level):
        plan = Plan(draws=draws)
        assert (plan.looks, plan.level) == (looks, level)

    def test_that_is_exact_looks_once(self):
        assert (Plan(draws=10, exact=True).looks, Plan(draws=10, exact=True).level) == ((10,), 0.05)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"draws": 1}, "draws must be >= 2, since one says nothing of chance, but got 1"),
            ({"draws": 201}, "draws must be <= 200, but got 201"),
            ({"margin": 0.0}, "margin must be > 0, but got 0"),
            ({"challengers": 0}, "challengers must be >= 1, but got 0"),
        ],
    )
    def test_out_of_range_says_what_was_expected(self, values, message):
        with pytest.raises(InvalidInputError, match=message):
            Plan(**values)

    @pytest.mark.parametrize(
        ("mean", "doubt"),
        [
            (0.08, 0.08),  # a difference: that it is none
            (-0.08, 0.08),
            (0.01, math.log(1.05) - 0.01),  # near nothing: that it is as large as the margin
            (-0.01, math.log(1.05) - 0.01),
            (0.0, math.log(1.05)),
        ],
    )
    def test_the_draws_that_are_needed_reach_to_the_farther_doubt(self, mean, doubt):
        effect = effect_of([mean - 0.05, mean + 0.05] * 3, 0.018)
        needed = draws_needed(effect, Plan())
        assert detectable(effect.noise, needed, 0.018) <= doubt
        assert detectable(effect.noise, needed - 1, 0.018) > doubt


@pytest.mark.parametrize(("draws", "needed"), [(999, 999), (1000, 1000), (1001, None)])
def test_where_a_thousand_draws_would_not_decide_no_number_is_given(draws, needed):
    mean, level = 0.2, 0.018
    noise = mean / detectable(1.0, draws, level) * (1.0 - 1e-6)
    deviation = noise * math.sqrt(9 / 10)  # of ten pairs, at either side of the mean
    effect = effect_of([mean - deviation, mean + deviation] * 5, level)
    assert draws_needed(effect, Plan()) == needed
