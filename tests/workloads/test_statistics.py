"""Statistics of a trace: exact on traces small enough to count by hand, and true on draws."""

import json
import math

import numpy as np
import pytest

from workloads import Constant, Gamma, Mmpp, Poisson, Trace
from workloads.statistics import (
    autocorrelation,
    describe,
    gaps,
    rate_profile,
    scales,
    survival,
    zooms,
)
from workloads.statistics.counts import occupied, scale


def drawn(process, rate_rps=100.0, duration_s=300.0, seed=0):
    return Trace(
        process.arrivals(rate_rps, duration_s, np.random.default_rng(seed)), duration_s, name="a"
    )


def counted(counts, span_s=1.0):
    """A trace with that many arrivals in each window, spread evenly over the window."""
    arrival_s = [(i + (k + 0.5) / n) * span_s for i, n in enumerate(counts) for k in range(n)]
    return Trace(arrival_s, len(counts) * span_s)


def at(trace, span_s):
    return next(scale for scale in scales(trace) if scale.span_s == span_s)


def test_counts_mean_peak_and_dispersion_are_those_of_the_windows():
    counts = [4, 0, 1, 3, 2, 0] * 10
    found = at(counted(counts), 1.0)
    assert (found.windows, found.peak) == (60, 4)
    assert found.mean == pytest.approx(np.mean(counts))
    assert found.dispersion == pytest.approx(np.var(counts, ddof=1) / np.mean(counts))
    assert found.peak_to_mean == pytest.approx(4 / np.mean(counts))


def test_the_third_factorial_cumulant_is_that_of_the_counts():
    counts = np.array([4, 0, 1, 3, 2, 0, 0, 9] * 10)
    away = counts - counts.mean()
    expected = (away**3).mean() - 3 * counts.var(ddof=1) + 2 * counts.mean()
    assert at(counted(counts), 1.0).third == pytest.approx(expected)


def test_the_windows_of_a_coarser_scale_are_unions_of_finer_ones():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 5, 4000)
    trace = counted(counts, 0.01)
    for found in scales(trace):
        if found.span_s >= 0.01:
            width = round(found.span_s / 0.01)
            sums = counts[: found.windows * width].reshape(-1, width).sum(axis=1)
            assert found.dispersion == pytest.approx(sums.var(ddof=1) / sums.mean())
            assert found.peak == sums.max()
    assert [found.span_s for found in scales(trace)][-3:] == [0.2, 0.5, 1.0]


def test_thirty_windows_of_the_longest_scale_fit_into_the_trace():
    for duration_s in (29.9, 30.0, 61.0, 3500.0):
        found = scales(drawn(Poisson(), 20.0, duration_s))
        assert all(s.windows == math.floor(duration_s / s.span_s + 1e-9) >= 30 for s in found)
        longest_s = found[-1].span_s
        assert longest_s <= duration_s / 30 < 2.6 * longest_s


def test_arrivals_on_the_edge_of_a_window_belong_to_the_one_that_begins_there():
    index, counts = occupied(np.arange(100_000) * 0.001, 0.001)
    assert index.tolist() == list(range(100_000))
    assert (counts == 1).all()


def test_evenly_spaced_arrivals_have_no_dispersion():
    found = describe(drawn(Constant(), 10.0))
    assert found.gaps.cv == pytest.approx(0.0, abs=1e-9)
    assert all(s.dispersion == 0.0 for s in found.scales if s.span_s >= 0.1)


def test_empty_windows_cost_nothing_and_count_all_the_same():
    trace = Trace([0.0, 1e7, 2e7 - 1], 2e7)
    index, counts = occupied(trace.arrival_s, 1e-3)
    assert len(index) == 3
    found = scale(1e-3, 20_000_000_000, index, counts)
    assert found.mean == pytest.approx(1.5e-10)
    assert found.dispersion == pytest.approx(1.0)


@pytest.mark.parametrize(
    "process", [Poisson(), Gamma(0.5), Gamma(2.0), Mmpp(2.5, 0.1, 0.3)], ids=str
)
def test_the_dispersion_of_draws_is_the_exact_curve_within_its_stated_error(process):
    found = [scales(drawn(process, seed=seed)) for seed in range(30)]
    for of_one_span in zip(*found, strict=True):
        span_s, windows = of_one_span[0].span_s, of_one_span[0].windows
        exact = process.count_dispersion(100.0, span_s)
        whole = process.count_dispersion(100.0, span_s * windows)
        expected = windows / (windows - 1) * (exact - whole / windows)
        values = [s.dispersion for s in of_one_span]
        spread = np.std(values, ddof=1)
        # The ratio of two estimates is biased by the order of 1 / m, far below this.
        assert abs(np.mean(values) - expected) <= 4.5 * spread / math.sqrt(30) + 0.002
        stated = np.mean([s.dispersion_error for s in of_one_span])
        assert 0.55 * spread < stated < 1.7 * spread


def test_gaps_are_described_by_nearest_rank():
    found = gaps(Trace([0.0, 0.0, 1.0, 3.0, 6.0], 10.0))
    assert (found.min_s, found.max_s, found.mean_s) == (0.0, 3.0, 1.5)
    assert found.quantiles_s["p50"] == 1.0
    assert found.quantiles_s["p75"] == 2.0
    assert found.quantiles_s["p99_9"] == 3.0
    assert found.simultaneous == 0.25
    assert found.cv == pytest.approx(np.std([0, 1, 2, 3]) / 1.5)


def test_the_survival_of_gaps_is_exact_for_few_and_keeps_both_tails_of_many():
    gap_s, share = survival(Trace([0.0, 1.0, 4.0, 6.0], 6.0))
    assert gap_s.tolist() == [1.0, 2.0, 3.0]
    assert share.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3])
    trace = drawn(Poisson(), 1000.0, 100.0)
    gap_s, share = survival(trace)
    assert len(gap_s) <= 400
    assert gap_s[-1] == np.diff(trace.arrival_s).max()
    exact = [(np.diff(trace.arrival_s) >= x).mean() for x in gap_s]
    assert share.tolist() == pytest.approx(exact)


def test_the_autocorrelation_is_that_of_the_counts():
    counts = np.tile([9, 3], 60)
    found = autocorrelation(counted(counts, 0.1))
    assert found.span_s == 0.1
    away = counts - counts.mean()
    expected = [float(away[:-k] @ away[k:] / (away @ away)) for k in range(1, 31)]
    assert list(found.values) == pytest.approx(expected)
    assert found.values[0] == pytest.approx(-119 / 120)
    assert found.correlated_s == pytest.approx(0.1)


def test_counts_of_poisson_arrivals_are_uncorrelated_and_those_of_bursts_are_not():
    calm = autocorrelation(drawn(Poisson()))
    outside = np.abs(calm.values) > calm.noise
    assert outside.mean() < 0.15  # 5 % are expected
    bursty = autocorrelation(drawn(Mmpp(4.0, 0.5, 1.5)))
    assert bursty.values[0] > 0.5
    # forgotten at the rate 1 / 0.5 + 1 / 1.5
    assert bursty.values[1] / bursty.values[0] == pytest.approx(math.exp(-0.1 / 0.375), rel=0.1)


def test_the_rate_is_counted_over_every_bin_up_to_the_last_arrival():
    trace = Trace([0.0, 0.5, 1.0, 2.0], 2.0)
    profile = rate_profile(trace, 0.0, 2.0, 2)
    assert profile.rate_rps.tolist() == [2.0, 2.0]
    assert profile.edges_s.tolist() == [0.0, 1.0, 2.0]


def test_zooms_go_from_the_whole_into_its_busiest_part():
    calm = np.arange(0.0, 1000.0, 0.1)
    trace = Trace(np.sort(np.concatenate((calm, np.linspace(700.0, 701.0, 500)))), 1000.0)
    whole, middle, close = zooms(trace)
    assert (whole.edges_s[0], whole.edges_s[-1]) == (0.0, 1000.0)
    assert middle.edges_s[0] <= close.edges_s[0] <= 700.0
    assert 701.0 <= close.edges_s[-1] <= middle.edges_s[-1]
    assert [len(zoom.edges_s) for zoom in (whole, middle, close)] == [241, 241, 201]
    widths_s = [zoom.edges_s[-1] - zoom.edges_s[0] for zoom in (whole, middle, close)]
    assert widths_s[0] / widths_s[1] == pytest.approx(widths_s[1] / widths_s[2])


def test_tokens_are_described_by_column():
    trace = Trace([0.0, 1.0, 2.0], 3.0, input_tokens=[5, 1, 3])
    found = describe(trace).tokens
    assert list(found) == ["input_tokens"]
    tokens = found["input_tokens"]
    assert (tokens.total, tokens.mean, tokens.min, tokens.max) == (9, 3.0, 1, 5)
    assert tokens.quantiles["p50"] == 3.0


@pytest.mark.parametrize(
    ("trace", "gap_cv"),
    [
        (Trace([], 0.0), None),
        (Trace([], 5.0), None),
        (Trace([0.0], 0.0), None),
        (Trace([1.0], 1.0), None),
        (Trace([0.0, 0.0, 0.0], 0.0), None),
        (Trace([1.0] * 500, 1000.0), None),
        (Trace([0.0, 0.5, 2.0], 2.0), 0.5),
        (Trace(np.arange(1000) / 1e6, 1e-3), 0.0),
        (Trace([0.0, 1e12], 1e12), None),
    ],
    ids=str,
)
def test_a_degenerate_trace_is_described_with_nothing_made_up(trace, gap_cv):
    found = describe(trace)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["requests"] == len(trace)
    cv = values["gaps"]["cv"] if values["gaps"] else None
    assert cv == (None if gap_cv is None else pytest.approx(gap_cv, abs=1e-6))
    survival(trace)
    zooms(trace)


def test_all_requests_in_one_window_leave_the_others_empty():
    found = at(Trace([0.5] * 100, 1000.0), 10.0)
    assert (found.mean, found.peak, found.peak_to_mean) == (1.0, 100, 100.0)
    assert found.dispersion == pytest.approx(100.0)


def test_the_numbers_of_a_trace_are_json():
    values = describe(drawn(Mmpp(2.5, 0.1, 0.3), 50.0, 60.0)).as_json()
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(values))
    assert values["scales"][0]["peak_to_mean"] > 1
    assert values["autocorrelation"]["correlated_s"] > 0
