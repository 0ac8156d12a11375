"""The dispersion curves of the processes, against draws and against values worked by hand."""

import math

import numpy as np
import pytest

from workloads import Constant, CountDispersion, Gamma, Mmpp, OnOff, Poisson, ProcessError

EVERY = [
    Poisson(),
    Constant(),
    Gamma(0.3),
    Gamma(2.0),
    Mmpp(2.5, 0.1, 0.3),
    Mmpp(4.0, 0.1, 0.3),
    OnOff(0.1, 0.2718),
    OnOff(0.3, 0.02),
]
SPANS_S = (0.002, 0.03, 0.25, 1.3)


def counted(arrival_s, span_s, duration_s, rng):
    """The counts in windows that begin anywhere."""
    starts_s = rng.uniform(0, duration_s - span_s, 4000)
    return np.diff(np.searchsorted(arrival_s, [starts_s, starts_s + span_s]), axis=0)[0]


@pytest.mark.parametrize("process", EVERY, ids=str)
@pytest.mark.parametrize("span_s", SPANS_S)
def test_counts_in_draws_vary_as_the_formula_says(process, span_s):
    rate_rps, duration_s = 70.3, 40.0
    expected = rate_rps * span_s
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        arrival_s = process.arrivals(rate_rps, duration_s, rng)
        counts = counted(arrival_s, span_s, duration_s, rng)
        found.append(((counts - expected) ** 2).mean() / expected)
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - process.count_dispersion(rate_rps, span_s)) <= 4 * error + 1e-9


@pytest.mark.parametrize("process", EVERY, ids=str)
def test_a_window_too_short_for_two_arrivals_has_a_dispersion_of_one(process):
    assert process.count_dispersion(10.0, 1e-18) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("process", "span_s", "expected"),
    [
        # r t = 2.5: half of the windows have an arrival more
        (Constant(), 0.25, 0.25 / 2.5),
        (Constant(), 0.3, 0.0),
        # v = 1, q = 2, q t = 2: 1 + 10 (1 - (1 - e^-2) / 2)
        (Mmpp(2.0, 1.0, 1.0), 1.0, 1 + 10 * (1 - (1 - math.exp(-2)) / 2)),
        # far beyond the bursts, 1 + 2 r v / q
        (Mmpp(2.0, 1.0, 1.0), 1e9, 11.0),
        # whole cycles have no variance but Poisson's
        (OnOff(0.1, 0.3), 1.2, 1.0),
        # half of the time on, windows of half a cycle: Var S = 1/3 - 1/4, 1 + 10 x 4 / 12
        (OnOff(1.0, 1.0), 1.0, 1 + 10 * 4 / 12),
        # a renewal process ends at the variance of its gaps
        (Gamma(2.0), 1e9, 4.0),
        (Gamma(0.5), 1e9, 0.25),
        # gaps of an Erlang of two phases: 1/2 + (1 - exp(-4 r t)) / (8 r t), here r t = 1
        (Gamma(math.sqrt(0.5)), 0.1, 0.5 + (1 - math.exp(-4)) / 8),
        (Gamma(1.0), 0.3, 1.0),
    ],
)
def test_dispersions_worked_by_hand(process, span_s, expected):
    assert process.count_dispersion(10.0, span_s) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("cv", [0.01, 0.1, 5.0, 100.0])
@pytest.mark.parametrize("expected", [1e-4, 0.5, 1.0, 30.0, 1e4, 9e5])
def test_a_renewal_dispersion_is_finite_between_its_two_ends(cv, expected):
    value = Gamma(cv).count_dispersion(1.0, expected)
    assert min(1.0, cv**2) * 0.99 - 0.01 <= value <= max(1.0, cv**2) * 1.01


@pytest.mark.parametrize("process", EVERY, ids=str)
def test_a_process_with_a_formula_says_so_and_refuses_what_is_no_window(process):
    assert isinstance(process, CountDispersion)
    with pytest.raises(ProcessError, match="rate_rps must be > 0 and finite, but got 0"):
        process.count_dispersion(0.0, 1.0)
    with pytest.raises(ProcessError, match="span_s must be > 0 and finite, but got nan"):
        process.count_dispersion(1.0, math.nan)
