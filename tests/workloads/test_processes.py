"""What every arrival process must do; a new one joins by its line in EXAMPLES."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.drawing import draw, four_standard_errors
from workloads import (
    PROCESSES,
    ArrivalProcess,
    Constant,
    CountDispersion,
    Diurnal,
    Gamma,
    Hawkes,
    Mmpp,
    OnOff,
    Pareto,
    Part,
    Piecewise,
    Poisson,
    ProcessError,
    Ramp,
    Spike,
    Superposition,
    Weibull,
)
from workloads.processes import PeriodicPoisson

EXAMPLES = {
    "poisson": [Poisson()],
    "gamma": [Gamma(0.2), Gamma(1.0), Gamma(3.0)],
    "weibull": [Weibull(0.6), Weibull(2.0)],
    "pareto": [Pareto(1.5), Pareto(6.0)],
    "constant": [Constant()],
    "mmpp": [Mmpp(2.5, 0.1, 0.3), Mmpp(4.0, 0.1, 0.3), Mmpp(1.2, 0.2, 0.05)],
    "on_off": [OnOff(0.1, 0.3), OnOff(0.3, 0.02)],
    "hawkes": [Hawkes(0.5, 0.05), Hawkes(0.9, 0.01)],
    "diurnal": [Diurnal(1.0, 0.8, 0.25), Diurnal(5.0, 1.0, 0.0)],
    "ramp": [Ramp(0.0, 1.0), Ramp(1.7, 2.0)],
    "spike": [Spike(10.0, 0.2, 0.05, 0.1, 0.2, 1.0), Spike(5.0, 0.0, 0.0, 0.1, 0.0, 1.0)],
    "piecewise": [Piecewise((0.1, 0.2, 0.1, 0.1), (1.0, 0.0, 5.0, 2.0))],
    "superposition": [
        Superposition((Part(Poisson(), 0.7), Part(Hawkes(0.8, 0.02), 0.3))),
        Superposition((Part(OnOff(0.1, 0.3), 0.5), Part(Diurnal(1.0, 0.8, 0.0), 0.5))),
    ],
}
ALL = [p for examples in EXAMPLES.values() for p in examples]


def starts_anywhere(process):
    """Whether time 0 is a random moment of the process; a profile starts at its beginning."""
    if isinstance(process, Superposition):
        return all(starts_anywhere(part.process) for part in process.parts)
    return not isinstance(process, PeriodicPoisson | Constant)


def comes_in_clusters(process):
    """Whether a heavier load has more bursts, rather than the same ones with more in them."""
    if isinstance(process, Superposition):
        return any(comes_in_clusters(part.process) for part in process.parts)
    return isinstance(process, Hawkes)


every_process = pytest.mark.parametrize("process", ALL, ids=str)
every_random_process = pytest.mark.parametrize(
    "process", [p for p in ALL if p.gap_cv(1.0) != 0], ids=str
)
every_process_that_starts_anywhere = pytest.mark.parametrize(
    "process", [p for p in ALL if starts_anywhere(p)], ids=str
)
every_process_with_a_cv = pytest.mark.parametrize(
    "process", [p for p in ALL if math.isfinite(p.gap_cv(1.0))], ids=str
)
every_process_with_a_dispersion = pytest.mark.parametrize(
    "process",
    [p for p in ALL if isinstance(p, CountDispersion) and p.count_dispersion(1.0, 1.0) >= 0],
    ids=str,
)


def cv(arrival_s):
    gaps_s = np.diff(arrival_s)
    return gaps_s.std() / gaps_s.mean()


def dispersion(arrival_s, bins, duration_s=100.0):
    """Variance / mean of the counts in so many windows, side by side."""
    counts = np.histogram(arrival_s, bins, (0.0, duration_s))[0]
    return counts.var() / counts.mean()


def test_every_registered_process_is_under_this_contract():
    assert EXAMPLES.keys() == PROCESSES.keys()
    for kind, examples in EXAMPLES.items():
        assert PROCESSES[kind].kind == kind
        assert all(type(example) is PROCESSES[kind] for example in examples)


@every_process
def test_it_is_an_arrival_process_whose_parameters_cannot_change(process):
    assert isinstance(process, ArrivalProcess)
    with pytest.raises(AttributeError):
        process.kind = "other"


@every_process
@pytest.mark.parametrize("rate_rps", [0.01, 3.0, 1000.0])
def test_arrivals_are_sorted_and_inside_the_duration(process, rate_rps):
    for seed in range(5):
        arrival_s = draw(process, rate_rps, 7.0, seed)
        assert arrival_s.dtype == np.float64
        assert arrival_s.ndim == 1
        assert (np.diff(arrival_s) >= 0).all()
        assert ((arrival_s >= 0) & (arrival_s < 7.0)).all()


@every_process
@pytest.mark.parametrize("rate_rps", [20.0, 200.0])
def test_the_mean_rate_is_the_one_asked_for(process, rate_rps):
    # The spread is taken from the draws themselves, so that bursts widen the interval as they
    # should. One arrival is allowed for rounding where nothing is random.
    counts = [len(draw(process, rate_rps, 20.0, seed)) for seed in range(60)]
    assert abs(np.mean(counts) - rate_rps * 20.0) <= four_standard_errors(counts) + 1


@every_process_with_a_cv
@pytest.mark.parametrize("rate_rps", [20.0, 200.0])
def test_the_gaps_vary_as_the_formula_says(process, rate_rps):
    draws = [cv(draw(process, rate_rps, 20_000 / rate_rps, seed)) for seed in range(40)]
    promised = process.gap_cv(rate_rps)
    # Half a per cent for the bias of a ratio.
    allowed = four_standard_errors(draws) + 0.005 * promised + 1e-9
    assert abs(np.mean(draws) - promised) <= allowed


@every_process_with_a_dispersion
@pytest.mark.parametrize("span_s", [0.013, 0.137, 2.9])
def test_the_counts_vary_as_the_formula_says(process, span_s):
    # Windows at random places of long draws, so that a profile is met in every phase.
    rate_rps, draws = 200.0, []
    for seed in range(40):
        arrival_s = draw(process, rate_rps, 60.0, seed)
        starts_s = np.random.default_rng([seed, 1]).uniform(0, 60.0 - span_s, 500)
        # Whole periods of a profile only, or its phases would not be met alike.
        if not starts_anywhere(process):
            starts_s %= 55.0
        counts = np.diff(np.searchsorted(arrival_s, [starts_s, starts_s + span_s]), axis=0)
        expected = rate_rps * span_s
        draws.append(((counts - expected) ** 2).mean() / expected)
    promised = process.count_dispersion(rate_rps, span_s)
    assert abs(np.mean(draws) - promised) <= four_standard_errors(draws)


@every_process
def test_equal_seeds_give_equal_arrivals(process):
    assert np.array_equal(draw(process, seed=1), draw(process, seed=1))


@every_random_process
def test_other_seeds_give_other_arrivals(process):
    assert not np.array_equal(draw(process, seed=1), draw(process, seed=2))


@every_process
def test_a_longer_draw_begins_with_the_shorter_one(process):
    short, long = draw(process, duration_s=20.0), draw(process, duration_s=333.3)
    assert np.array_equal(long[: len(short)], short)
    assert long[len(short)] >= 20.0


@every_process_that_starts_anywhere
def test_the_first_instant_is_like_any_other(process):
    # Half an arrival is expected in half a mean gap, also in the very first.
    counts = [len(draw(process, 100.0, 0.005, seed)) for seed in range(4000)]
    assert abs(np.mean(counts) - 0.5) <= four_standard_errors(counts)


@every_process
def test_doubling_the_rate_leaves_the_length_of_a_burst_alone(process):
    once, twice = draw(process, 20_000.0), draw(process, 40_000.0)
    if comes_in_clusters(process):
        # Twice as many bursts, each as long as before: counts spread alike at every time scale.
        for bins in (10_000, 1000, 100):
            once, twice = (
                [dispersion(draw(process, rate_rps, 100.0, seed), bins) for seed in range(10)]
                for rate_rps in (500.0, 1000.0)
            )
            allowed = four_standard_errors(once) + four_standard_errors(twice)
            assert abs(np.mean(once) - np.mean(twice)) <= allowed
    elif process.gap_cv(20_000.0) == process.gap_cv(40_000.0):
        # No burst has a length here: at twice the rate it is the same picture in half the time.
        assert twice[:1000] * 2 == pytest.approx(once[:1000])
    else:
        # The load rises and falls at the same times, of which it takes nothing away.
        edges_s = np.linspace(0, 20, 2001)
        profiles = [np.histogram(arrival_s, edges_s)[0] for arrival_s in (once, twice)]
        assert np.corrcoef(profiles)[0, 1] > 0.9


@every_process
def test_a_million_arrivals_take_less_than_a_second(process):
    start_s = time.process_time()
    arrival_s = draw(process, 1000.0, 1000.0)
    assert time.process_time() - start_s < 1.0
    # Some bursts are so large that a million is no number to expect exactly.
    assert len(arrival_s) == pytest.approx(1_000_000, rel=0.05)


@every_process
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_or_duration_that_is_not_positive_is_refused(process, value):
    with pytest.raises(ProcessError, match="rate_rps must be > 0 and finite, but got"):
        draw(process, rate_rps=value)
    with pytest.raises(ProcessError, match="duration_s must be > 0 and finite, but got"):
        draw(process, duration_s=value)
    with pytest.raises(ProcessError, match="rate_rps must be > 0 and finite, but got"):
        process.gap_cv(value)


@every_process
def test_a_draw_that_memory_cannot_hold_is_refused(process):
    with pytest.raises(ProcessError, match="arrivals or fewer in one draw, but got"):
        draw(process, rate_rps=1e9, duration_s=1000.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gamma(0.0), "cv must be between 0.01 and 100, but got 0"),
        (lambda: Gamma(math.nan), "cv must be between 0.01 and 100, but got nan"),
        (lambda: Mmpp(2.5, 0.0, 0.3), "burst_s must be between 1e-06 and 1000000, but got 0"),
        (lambda: Mmpp(2.5, 0.1, math.inf), "calm_s must be between 1e-06 and 1000000, but got inf"),
        # below the mean it would be no burst
        (lambda: Mmpp(0.9, 0.1, 0.3), "burst_factor must be between 1 and 4, beyond which"),
        # a burst that takes more than all of the load
        (lambda: Mmpp(4.1, 0.1, 0.3), "would need a rate below 0, but got 4.1"),
        (lambda: Mmpp(math.nan, 0.1, 0.3), "burst_factor must be between 1 and 4, .* got nan"),
        (lambda: OnOff(-1.0, 1.0), "on_s must be between 1e-06 and 1000000, but got -1"),
        (lambda: OnOff(1.0, 0.0), "off_s must be between 1e-06 and 1000000, but got 0"),
        (lambda: Weibull(0.1), "shape must be between 0.2 and 100, but got 0.1"),
        # gaps without a mean
        (lambda: Pareto(1.0), "alpha must be between 1.1 and 1000, but got 1"),
        # every request bringing another: without end
        (lambda: Hawkes(1.0, 0.1), "branching must be between 0 and 0.99, but got 1"),
        (lambda: Hawkes(0.5, 0.0), "decay_s must be between 1e-06 and 1000000, but got 0"),
        (lambda: Diurnal(0.0, 0.5, 0.0), "period_s must be between 1e-06 and 1000000, but got 0"),
        # a night with a rate below 0
        (lambda: Diurnal(60.0, 1.1, 0.0), "amplitude must be between 0 and 1, but got 1.1"),
        (lambda: Diurnal(60.0, 0.5, 61.0), "peak_at_s must be between 0 and 60, but got 61"),
        (lambda: Ramp(2.5, 60.0), "start_factor must be between 0 and 2, but got 2.5"),
        (lambda: Ramp(0.5, math.nan), "over_s must be between 1e-06 and 1000000, but got nan"),
        (lambda: Spike(0.5, 1, 1, 1, 1, 9), "spike_factor must be between 1 and 1000000, but"),
        (lambda: Spike(5, 1, -1, 1, 1, 9), "rise_s must be between 0 and 9, but got -1"),
        # a spike that outlasts its period
        (
            lambda: Spike(5, 3, 3, 3, 3, 9),
            "hold_s \\+ fall_s must be at most every_s, 9, but got 12",
        ),
        (lambda: Piecewise((), ()), "the number of steps must be between 1 and 10000, but got 0"),
        (
            lambda: Piecewise((1.0,), (1.0, 2.0)),
            "levels must be as many as lengths_s, 1, but got 2",
        ),
        (lambda: Piecewise((1.0, 0.0), (1.0, 2.0)), "lengths_s\\[1\\] must be between"),
        (lambda: Piecewise((1.0,), (-1.0,)), "levels\\[0\\] must be >= 0 and finite, but got -1"),
        # silence has no shape
        (lambda: Piecewise((1.0,), (0.0,)), "the highest of the levels must be between"),
        (lambda: Superposition(()), "the number of parts must be between 2 and 100, but got 0"),
        (lambda: Part(Poisson(), 0.0), "share must be above 0 and at most 1, but got 0"),
        (
            lambda: Superposition((Part(Poisson(), 0.5), Part(Gamma(2.0), 0.4))),
            "the shares of the parts must add up to 1, but got 0.9",
        ),
        (
            lambda: Part(Superposition((Part(Poisson(), 0.5), Part(Gamma(2.0), 0.5))), 1.0),
            "a part must be a simple process, but got a superposition",
        ),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ProcessError, match=message):
        make()


@pytest.mark.parametrize("process", [Mmpp(2.0, 1e-6, 1e-6), OnOff(1e-6, 1e-6)], ids=str)
def test_bursts_too_short_for_the_duration_are_refused(process):
    with pytest.raises(ProcessError, match="a cycle of 2e-06 s must fit at most 5e"):
        draw(process, rate_rps=1.0, duration_s=3600.0)


def test_constant_arrivals_start_at_zero_and_are_one_gap_apart():
    assert draw(Constant(), 4.0, 1.0).tolist() == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("rate_rps", [0.1, 0.3, 1 / 3, 7.7, 1234.5])
@pytest.mark.parametrize("duration_s", [0.1, 1.1, 30.0])
def test_constant_arrivals_number_rate_times_duration_to_within_one(rate_rps, duration_s):
    assert abs(len(draw(Constant(), rate_rps, duration_s)) - rate_rps * duration_s) < 1


def test_a_silent_on_off_phase_holds_no_arrival():
    in_cycle_s = np.sort(draw(OnOff(0.1, 0.3), 1000.0, 100.0) % 0.4)
    around_s = np.append(in_cycle_s, in_cycle_s[0] + 0.4)
    assert np.diff(around_s).max() == pytest.approx(0.3, abs=1e-3)


def test_an_on_off_draw_may_start_anywhere_in_its_cycle():
    firsts_s = [draw(OnOff(0.1, 0.3), 10_000.0, 1.0, seed)[0] for seed in range(400)]
    # A quarter of the draws starts inside a burst; the others wait up to 0.3 s, evenly.
    assert np.mean(np.array(firsts_s) < 0.001) == pytest.approx(0.25, abs=0.07)
    assert np.max(firsts_s) == pytest.approx(0.3, abs=0.01)


def test_the_calm_rate_makes_up_for_the_bursts():
    process = Mmpp(2.5, 0.1, 0.3)
    assert process.burst_share == pytest.approx(0.25)
    assert process.calm_factor == pytest.approx(0.5)
    assert Mmpp(4.0, 0.1, 0.3).calm_factor == 0.0


def test_a_burst_factor_at_its_limit_survives_rounding():
    # 1 / p is 3.3333..., which no decimal hits exactly
    assert Mmpp(10 / 3, 0.3, 0.7).calm_factor == pytest.approx(0.0, abs=1e-9)
    assert Mmpp(3.333333333333334, 0.3, 0.7).calm_factor == 0.0


def test_phases_of_an_mmpp_last_as_long_as_promised():
    # The calm is silent, so at a high rate only calms make long gaps. Those longer than 10 ms
    # exceed 10 ms by their mean length, as exponential times do.
    gaps_s = np.diff(draw(Mmpp(4.0, 0.1, 0.3), 5000.0, 200.0))
    calms_s = gaps_s[gaps_s > 0.01] - 0.01
    assert len(calms_s) == pytest.approx(200 / 0.4 * math.exp(-0.01 / 0.3), rel=0.15)
    assert abs(calms_s.mean() - 0.3) <= four_standard_errors(calms_s)


@pytest.mark.parametrize(
    ("process", "rate_rps", "expected"),
    [
        # equal rates are a Poisson process
        (Mmpp(1.0, 0.5, 0.5), 10.0, 1.0),
        # l1 = 2, l2 = 0, s1 = s2 = 1: 1 + 2 * 4 / (4 * 2) = 2
        (Mmpp(2.0, 1.0, 1.0), 1.0, math.sqrt(2)),
        # l1 = 3, l2 = 1, s1 = s2 = 1: 1 + 2 * 4 / (4 * (3 + 3 + 1)) = 9 / 7
        (Mmpp(1.5, 1.0, 1.0), 2.0, math.sqrt(9 / 7)),
        # L = 2, w = 1/2: 1 + (2 coth 1 - 2) / 4
        (OnOff(1.0, 1.0), 1.0, math.sqrt(1 + (1.3130352854993315 - 1) / 2)),
        # a light load does not see the bursts
        (OnOff(1.0, 1.0), 1e-6, 1.0),
        (Gamma(0.3), 5.0, 0.3),
        # E[x^2] / E[x]^2 = G(5) / G(3)^2 = 24 / 4
        (Weibull(0.5), 5.0, math.sqrt(5)),
        (Weibull(1.0), 5.0, 1.0),
        (Pareto(4.0), 5.0, math.sqrt(2)),
        (Pareto(2.0), 5.0, math.inf),
        (Hawkes(0.0, 1.0), 5.0, 1.0),
        (Ramp(1.0, 3.0), 5.0, 1.0),
        (Spike(1.0, 0.1, 0.1, 0.1, 0.1, 1.0), 5.0, 1.0),
        # a light load does not see a profile, nor a ramp that goes on for ages
        (Diurnal(1.0, 1.0, 0.0), 1e-6, 1.0),
        # many arrivals a step: a mixture of two exponentials, rates 3 and 1, weights 3 : 1
        (Piecewise((1e5, 1e5), (3.0, 1.0)), 1e3, math.sqrt(2 * (1 / 1.5 + 1 / 0.5) / 2 - 1)),
    ],
)
def test_gap_cv_worked_by_hand(process, rate_rps, expected):
    assert process.gap_cv(rate_rps) == pytest.approx(expected)


@pytest.mark.parametrize("rate_rps", [1.0, 50.0, 800.0])
def test_the_two_forms_of_the_mmpp_formula_agree(rate_rps):
    process = Mmpp(2.5, 0.1, 0.3)
    l1, l2 = process.burst_factor * rate_rps, process.calm_factor * rate_rps
    s1, s2 = 1 / process.burst_s, 1 / process.calm_s
    as_published = 1 + 2 * (l1 - l2) ** 2 * s1 * s2 / (
        (s1 + s2) ** 2 * (l1 * l2 + l1 * s2 + l2 * s1)
    )
    assert process.gap_cv(rate_rps) ** 2 == pytest.approx(as_published)


@pytest.mark.parametrize("rate_rps", [1.0, 50.0, 800.0])
def test_the_on_off_formula_is_the_variance_of_its_derivation(rate_rps):
    on_s, off_s = 0.1, 0.3
    per_cycle = rate_rps * (on_s + off_s)
    on_rps = per_cycle / on_s
    q = math.exp(-per_cycle)
    silences = (1 + q) / (1 - q) / per_cycle - 1 / per_cycle**2
    variance = 1 / on_rps**2 + off_s**2 * silences + 2 * off_s / (on_rps * per_cycle)
    expected = math.sqrt(variance) * rate_rps
    assert OnOff(on_s, off_s).gap_cv(rate_rps) == pytest.approx(expected)


lengths_s = st.floats(-3, 6).map(lambda exponent: 10.0**exponent)
any_process = st.one_of(
    st.floats(0.01, 100).map(Gamma),
    st.builds(OnOff, lengths_s, lengths_s),
    st.builds(
        lambda share, burst_s, calm_s: Mmpp(1 + share * calm_s / burst_s, burst_s, calm_s),
        st.floats(0, 1),
        lengths_s,
        lengths_s,
    ),
    st.floats(0.2, 100).map(Weibull),
    st.floats(2.1, 1000).map(Pareto),
    st.builds(Hawkes, st.floats(0, 0.9), st.floats(-6, 0).map(lambda exponent: 10.0**exponent)),
    st.builds(
        lambda period_s, amplitude, phase: Diurnal(period_s, amplitude, phase * period_s),
        lengths_s,
        st.floats(0, 1),
        st.floats(0, 1),
    ),
    st.builds(Ramp, st.floats(0, 2), lengths_s),
    st.builds(
        lambda factor, every_s, *shares: Spike(factor, *(x * every_s for x in shares), every_s),
        st.floats(0, 6).map(lambda exponent: 10.0**exponent),
        lengths_s,
        *[st.floats(0, 0.25)] * 4,
    ),
    st.lists(st.tuples(lengths_s, st.floats(0, 1e6)), min_size=1, max_size=9)
    .filter(lambda steps: max(level for _, level in steps) >= 1e-100)  # less is refused
    .filter(lambda steps: sum(length_s for length_s, _ in steps) < 1e6)
    .map(lambda steps: Piecewise(*zip(*steps, strict=True))),
)


@settings(deadline=None)
@given(any_process, st.floats(-3, 3), st.floats(-3, 1), st.integers(0, 9))
def test_any_valid_parameters_give_sorted_arrivals_and_a_cv(process, rate, duration, seed):
    rate_rps, duration_s = 10.0**rate, 10.0**duration
    arrival_s = draw(process, rate_rps, duration_s, seed)
    assert (np.diff(arrival_s) >= 0).all()
    assert ((arrival_s >= 0) & (arrival_s < duration_s)).all()
    assert 0 < process.gap_cv(rate_rps) < math.inf
