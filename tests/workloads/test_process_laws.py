"""The laws of single processes: formulas against each other, against derivations, and draws."""

import math

import numpy as np
import pytest

from tests.workloads.drawing import draw, four_standard_errors
from workloads import (
    Diurnal,
    Gamma,
    Hawkes,
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


@pytest.mark.parametrize("rate_rps", [0.1, 2.0, 50.0, 800.0, 1e6])
def test_the_gap_formula_for_profiles_is_that_of_on_off_where_they_are_one(rate_rps):
    steps = Piecewise((0.1, 0.3), (7.0, 0.0))
    assert steps.gap_cv(rate_rps) == pytest.approx(OnOff(0.1, 0.3).gap_cv(rate_rps), rel=1e-9)


@pytest.mark.parametrize("rate_rps", [0.1, 3.0, 100.0, 1e5])
@pytest.mark.parametrize(
    "process", [Ramp(0.0, 1.0), Ramp(2.0, 7.0), Diurnal(1.0, 1.0, 0.3), Spike(9, 0, 1, 0, 2, 3)]
)
def test_the_gap_formula_for_profiles_is_as_exact_as_it_says(process, rate_rps, monkeypatch):
    promised = process.gap_cv(rate_rps)
    monkeypatch.setattr("workloads.processes.periodic.STEP", 0.001)
    assert process.gap_cv(rate_rps) == pytest.approx(promised, rel=1e-3)


def test_the_gap_formula_of_a_ramp_is_the_integral_it_is_derived_from():
    # F(t) = integral of exp(-(t x + x^2 / 2) ...) by brute force, for l(t) = 2 r t on [0, 1).
    rate_rps, cells = 5.0, 4000
    t = (np.arange(12 * cells) + 0.5) / cells
    clock = np.floor(t) + (t % 1) ** 2
    waits = [np.exp(-rate_rps * (clock[i:] - clock[i])).sum() / cells for i in range(0, cells, 20)]
    expected = math.sqrt(2 * rate_rps * np.mean(waits) - 1)
    assert Ramp(0.0, 1.0).gap_cv(rate_rps) == pytest.approx(expected, rel=5e-3)


def test_the_gap_formula_of_a_hawkes_process_is_as_exact_as_it_says(monkeypatch):
    for process in (Hawkes(0.1, 1.0), Hawkes(0.8, 0.02), Hawkes(0.99, 3.0)):
        for rate_rps in (1e-3, 1.0, 100.0, 1e5):
            promised = process.gap_cv(rate_rps)
            with monkeypatch.context() as finer:
                finer.setattr("workloads.processes.hawkes.GRID", 100_000)
                assert process.gap_cv(rate_rps) == pytest.approx(promised, rel=1e-4)


def test_a_cluster_has_as_many_requests_as_the_branching_ratio_says():
    # At a rate so low that clusters never meet, a pause of many decays divides them.
    arrival_s = draw(Hawkes(0.75, 1e-3), 0.5, 200_000.0)
    sizes = np.diff(np.flatnonzero(np.diff(arrival_s) > 0.1))
    assert abs(sizes.mean() - 4.0) <= four_standard_errors(sizes)
    # Borel's variance: n / (1 - n)^3
    assert sizes.var() == pytest.approx(0.75 / 0.25**3, rel=0.1)


def test_a_hawkes_draw_of_an_endless_memory_is_refused():
    with pytest.raises(ProcessError, match="decay_s / \\(1 - branching\\) must be so short"):
        draw(Hawkes(0.99, 1e6), 100.0, 1.0)


@pytest.mark.parametrize(
    ("process", "rates"),
    [
        # in tenths of a second, relative to the mean
        (Piecewise((0.3, 0.2, 0.5), (2.0, 0.0, 1.0)), [2, 2, 2, 0, 0, 1, 1, 1, 1, 1]),
        (Ramp(0.0, 1.0), [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9]),
        (Ramp(1.5, 1.0), [1.45, 1.35, 1.25, 1.15, 1.05, 0.95, 0.85, 0.75, 0.65, 0.55]),
        # base 1 for 0.2, up to 5 in 0.2, there for 0.1, down in 0.2, base 1 for 0.3
        (Spike(5.0, 0.2, 0.2, 0.1, 0.2, 1.0), [1, 1, 2, 4, 5, 4, 2, 1, 1, 1]),
        (
            Diurnal(1.0, 0.8, 0.25),
            [
                1 + 0.8 * (math.sin(math.tau * (k + 1) / 10 - math.tau / 4)
                           - math.sin(math.tau * k / 10 - math.tau / 4)) / (math.tau / 10)
                for k in range(10)
            ],
        ),
    ],
)  # fmt: skip
def test_arrivals_follow_the_profile_and_do_so_again_in_every_period(process, rates):
    counts = np.array(
        [
            np.histogram(draw(process, 500.0, 3.0, seed), 30, (0.0, 3.0))[0].reshape(3, 10)
            for seed in range(100)
        ]
    )
    expected = 50 * np.array(rates) / np.mean(rates)
    # Poisson counts, so their variance is their mean.
    allowed = 4.5 * np.sqrt(expected / 100) + 1e-9
    assert (np.abs(counts.mean(axis=0) - expected) <= allowed).all()
    assert process.mean_factor(0.1) == pytest.approx(expected[0] / 50, rel=1e-4)
    assert process.mean_factor(7.0) == pytest.approx(1.0)


@pytest.mark.parametrize("span_s", [0.01, 0.3, 0.5, 0.99, 1.0, 12.3])
def test_the_dispersion_of_a_sinusoid_worked_by_hand(span_s):
    # Var[C(t + s) - C(t)] = 2 (a P / 2 pi)^2 sin^2(pi s / P)
    variance = 2 * (0.8 / math.tau * math.sin(math.pi * span_s)) ** 2
    promised = Diurnal(1.0, 0.8, 0.25).count_dispersion(100.0, span_s)
    assert promised == pytest.approx(1 + 100.0 / span_s * variance, rel=1e-4)


@pytest.mark.parametrize(
    ("span_s", "expected"),
    [
        # too short to see a request bring another
        (1e-9, 1.0),
        # so long that it is the variance of whole clusters: 1 / (1 - n)^2
        (1e9, 4.0),
        # g t = 1: 1 + 0.75 / 0.25 x exp(-1)
        (2.0, 1 + 3 * math.exp(-1)),
    ],
)
def test_the_dispersion_of_a_hawkes_process_worked_by_hand(span_s, expected):
    assert Hawkes(0.5, 1.0).count_dispersion(7.0, span_s) == pytest.approx(expected)


def test_pareto_gaps_have_the_tail_they_promise():
    gaps_s = np.diff(draw(Pareto(1.5), 100.0, 2000.0))
    for at_s in (0.001, 0.01, 0.1, 1.0):
        expected = (1 + at_s * 100 / 0.5) ** -1.5
        allowed = 4 * math.sqrt(expected / len(gaps_s))
        assert abs((gaps_s > at_s).mean() - expected) <= allowed


def test_the_parts_of_a_superposition_are_drawn_as_if_alone_at_their_share_of_the_rate():
    process = Superposition((Part(OnOff(0.1, 0.3), 0.25), Part(Gamma(3.0), 0.75)))
    first, second = np.random.default_rng(0).spawn(2)
    alone = [OnOff(0.1, 0.3).arrivals(25, 20.0, first), Gamma(3.0).arrivals(75, 20.0, second)]
    assert np.array_equal(draw(process), np.sort(np.concatenate(alone)))


def test_a_part_that_is_added_leaves_the_others_where_they_were():
    hawkes = Hawkes(0.5, 0.1)
    two = Superposition((Part(hawkes, 0.5), Part(Poisson(), 0.5)))
    three = Superposition((Part(hawkes, 0.5), Part(Poisson(), 0.25), Part(Gamma(2.0), 0.25)))
    first = np.random.default_rng(0).spawn(1)[0]
    alone = hawkes.arrivals(50.0, 20.0, first)
    for process in (two, three):
        assert np.isin(alone, draw(process)).all()


def test_the_dispersions_of_the_parts_add_up_by_their_shares():
    hawkes, wave = Hawkes(0.5, 0.1), Diurnal(1.0, 0.8, 0.0)
    process = Superposition((Part(hawkes, 0.25), Part(wave, 0.75)))
    expected = 0.25 * hawkes.count_dispersion(25.0, 0.3) + 0.75 * wave.count_dispersion(75.0, 0.3)
    assert process.count_dispersion(100.0, 0.3) == pytest.approx(expected)
    unknown = Superposition((Part(hawkes, 0.25), Part(Weibull(0.5), 0.75)))
    assert math.isnan(unknown.count_dispersion(100.0, 0.3))
