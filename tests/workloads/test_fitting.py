"""Fitting: what was put in comes out, and what is not there is not found."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from workloads import (
    Constant,
    Gamma,
    Mmpp,
    Poisson,
    ProcessError,
    Trace,
    TraceError,
    load,
    save_described,
)
from workloads.fitting import fit
from workloads.statistics import scales

RATE_RPS = 100.0


def drawn(process, duration_s=2000.0, seed=0, rate_rps=RATE_RPS):
    arrival_s = process.arrivals(rate_rps, duration_s, np.random.default_rng(seed))
    return Trace(arrival_s, duration_s, name="drawn")


def worst(found, process):
    """The largest relative error of the fitted curve from 10 ms to 10 s."""
    spans_s = np.geomspace(0.01, 10, 31)
    fitted = [found.process.count_dispersion(found.rate_rps, t) for t in spans_s]
    exact = [process.count_dispersion(RATE_RPS, t) for t in spans_s]
    return max(abs(f / e - 1) for f, e in zip(fitted, exact, strict=True))


@pytest.mark.parametrize(
    "process",
    [
        Mmpp(2.5, 0.1, 0.9),  # the built-in trace
        Mmpp(10.0, 0.1, 0.9),  # silent calms
        Mmpp(1.8, 0.3, 0.3),  # as long on as off
        Mmpp(1.1, 0.5, 0.5),  # nearly Poisson
        Mmpp(3.0, 0.02, 0.2),  # bursts of two gaps
        Mmpp(3.0, 1.0, 4.0),  # 400 slow bursts
    ],
    ids=str,
)
def test_the_curve_of_an_mmpp_comes_back_from_200_000_arrivals(process):
    for seed in range(4):
        trace = drawn(process, seed=seed)
        found = fit(trace, "mmpp")
        assert found.rate_rps == pytest.approx(trace.rate_rps)
        assert worst(found, process) < 0.2


def test_the_parameters_of_an_mmpp_come_back_and_not_its_curve_alone():
    found = [fit(drawn(Mmpp(4.0, 0.5, 2.0), seed=seed), "mmpp").process for seed in range(6)]
    assert np.mean([p.burst_factor for p in found]) == pytest.approx(4.0, rel=0.1)
    assert np.mean([p.burst_s for p in found]) == pytest.approx(0.5, rel=0.15)
    assert np.mean([p.calm_s for p in found]) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    ("process", "kind"),
    [
        (Poisson(), "poisson"),
        (Gamma(0.6), "gamma"),
        (Gamma(2.0), "gamma"),
        (Mmpp(2.5, 0.1, 0.9), "mmpp"),
        (Constant(), "gamma"),  # the nearest there is, at the least cv it takes
    ],
    ids=str,
)
def test_auto_takes_the_simplest_process_that_explains_the_trace(process, kind):
    chosen = Counter(fit(drawn(process, 300.0, seed)).process.kind for seed in range(12))
    assert chosen[kind] >= 11
    assert kind == "mmpp" or chosen["mmpp"] == 0


def test_auto_says_why_and_how_far_away_the_others_are():
    found = fit(drawn(Mmpp(2.5, 0.1, 0.9), 300.0))
    assert found.reason == "simplest"
    distances = {c.process.kind: c.distance for c in found.candidates}
    assert distances["mmpp"] < 1.5 < min(distances["gamma"], distances["poisson"])
    assert found.distance == distances["mmpp"]


def test_where_no_process_is_within_noise_the_nearest_is_taken():
    # Two rhythms, of 20 ms and of 10 s, that no two states can have.
    fast, slow = Mmpp(4.5, 0.004, 0.016), Mmpp(2.0, 5.0, 5.0)
    parts = [drawn(p, seed=s).arrival_s for p, s in ((fast, 1), (slow, 2))]
    trace = Trace(np.sort(np.concatenate(parts)), 2000.0)
    found = fit(trace)
    assert found.reason == "nearest"
    assert found.distance == min(c.distance for c in found.candidates) > 1.5


def test_gamma_takes_the_cv_of_the_gaps():
    trace = drawn(Gamma(2.0), 300.0)
    assert fit(trace, "gamma").process.cv == pytest.approx(trace.cv)
    assert fit(drawn(Constant(), 10.0), "gamma").process.cv == 0.01


def test_the_table_holds_both_curves_and_what_a_draw_as_long_would_show():
    trace = drawn(Mmpp(2.5, 0.1, 0.9), 300.0)
    found = fit(trace, "poisson")
    assert [s.span_s for s in found.scales] == [s.span_s for s in scales(trace)]
    assert all(s.fitted == 1.0 and s.expected == pytest.approx(1.0) for s in found.scales)
    slow = fit(trace, "mmpp").scales[-1]
    assert slow.expected < slow.fitted
    assert slow.ratio == slow.expected / slow.measured


def test_a_rate_that_changes_over_the_trace_shows_as_drift():
    steady = drawn(Poisson(), 300.0)
    assert fit(steady, "poisson").drift == pytest.approx(1.0, abs=0.6)
    rising = Trace(300.0 * np.sqrt(steady.arrival_s / 300.0), 300.0)
    assert fit(rising, "poisson").drift > 10


@pytest.mark.parametrize("process", ["auto", "poisson"])
@pytest.mark.parametrize(
    "trace",
    [Trace([1.0], 1.0), Trace([0.0, 0.5, 2.0], 2.0), Trace([1.0] * 4, 1.0)],
    ids=["one", "three", "all at once"],
)
def test_a_trace_too_short_to_tell_more_than_its_rate_is_fitted_by_that(trace, process):
    found = fit(trace, process)
    assert found.process == Poisson()
    assert found.rate_rps == trace.rate_rps
    assert found.reason == ("too short" if process == "auto" else "asked for")
    json.dumps(found.as_json())


@pytest.mark.parametrize("kind", ["auto", "poisson", "mmpp"])
def test_bursts_of_simultaneous_requests_are_fitted_without_a_warning(kind):
    trace = Trace(np.repeat(np.arange(0.0, 100.0, 0.5), 10), 100.0)
    values = fit(trace, kind).as_json()
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
    ("trace", "kind", "error", "message"),
    [
        (Trace([0.0], 0.0), "auto", TraceError, "only to requests that span some time"),
        (Trace([], 5.0), "auto", TraceError, "has 0 over 5 s"),
        (Trace([1.0, 2.0], 3.0), "gamma", TraceError, "needs 3 requests or more"),
        (Trace([1.0, 2.0, 4.0], 5.0), "mmpp", TraceError, "counts in 30 windows or more"),
        (Trace([1.0], 3.0), "hawkes", ProcessError,
         "process must be one of auto, poisson, gamma, mmpp, but got 'hawkes'"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_one_line(trace, kind, error, message):
    with pytest.raises(error, match=message) as caught:
        fit(trace, kind)
    assert "\n" not in str(caught.value)


def test_any_trace_gives_a_valid_mmpp():
    rng = np.random.default_rng(0)
    for exponent in range(-6, 7):
        gaps_s = rng.pareto(1.5, 500) * 10.0**exponent
        trace = Trace(np.cumsum(gaps_s), float(np.sum(gaps_s)) * (1 + 1e-9))
        process = fit(trace, "mmpp").process if len(scales(trace)) > 1 else None
        assert process is None or 1 <= process.burst_factor < math.inf


def test_a_fitted_process_is_a_trace_file_that_gives_independent_draws(tmp_path):
    trace = drawn(Mmpp(2.5, 0.1, 0.9), 300.0)
    found = fit(trace)
    spec = found.described(duration_s=300.0, seed=7, name="drawn fitted")
    save_described(spec, tmp_path / "fitted.json")
    assert load(tmp_path / "fitted.json") == spec
    again = [fit(spec.draw(found.rate_rps, 300.0, seed)) for seed in range(3)]
    assert {fitted.process.kind for fitted in again} == {"mmpp"}
    assert len({fitted.rate_rps for fitted in again}) == 3
