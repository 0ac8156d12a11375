"""The same requests at the same rate, burstier or calmer."""

import math

import numpy as np
import pytest

from workloads import Trace, TraceError, contrasted, load, resolve
from workloads.processes import Poisson


def trace(arrival_s, duration_s=10.0, **columns):
    return Trace(arrival_s=np.asarray(arrival_s, dtype=float), duration_s=duration_s, **columns)


def poisson(seed=0, requests=40_000):
    rng = np.random.default_rng(seed)
    return trace(Poisson().arrivals(100.0, requests / 100.0, rng), requests / 100.0)


@pytest.mark.parametrize("contrast", [0.0, 0.3, 0.75, 4.0 / 3.0, 3.0, 10.0])
def test_requests_order_and_span_stay(contrast):
    before = poisson(requests=2_000)
    after = contrasted(before, contrast)
    assert len(after) == len(before)
    assert after.duration_s == before.duration_s
    assert (np.diff(after.arrival_s) >= 0.0).all()
    assert after.arrival_s[-1] <= after.duration_s


def test_the_ratio_of_two_gaps_is_raised_to_the_power():
    after = contrasted(trace([1.0, 2.0, 6.0]), 2.0)  # gaps 1, 1, 4 and 4 to the end
    gaps_s = np.diff(after.arrival_s, prepend=0.0, append=10.0)
    np.testing.assert_allclose(gaps_s / gaps_s[0], [1.0, 1.0, 16.0, 16.0])
    assert gaps_s.sum() == pytest.approx(10.0)


def test_a_poisson_process_gets_the_gaps_of_a_weibull_one():
    for contrast in (0.75, 4.0 / 3.0):
        cv_squared = math.gamma(1 + 2 * contrast) / math.gamma(1 + contrast) ** 2 - 1
        assert contrasted(poisson(), contrast).cv ** 2 == pytest.approx(cv_squared, rel=0.06)


def test_one_changes_nothing_and_nought_spaces_evenly():
    before = trace([1.0, 2.0, 6.0])
    assert contrasted(before, 1.0) is before
    np.testing.assert_allclose(contrasted(before, 0.0).arrival_s, [2.5, 5.0, 7.5])


def test_what_comes_together_stays_together_and_tokens_stay_with_their_requests():
    after = contrasted(trace([1.0, 1.0, 6.0], input_tokens=[5, 6, 7]), 2.0)
    assert after.arrival_s[0] == after.arrival_s[1]
    assert after.input_tokens.tolist() == [5, 6, 7]


def test_there_and_back_again_is_where_it_began():
    before = poisson(requests=500)
    back = contrasted(contrasted(before, 4.0 / 3.0), 0.75)
    np.testing.assert_allclose(back.arrival_s, before.arrival_s, rtol=1e-9)


def test_it_is_written_down():
    assert contrasted(trace([1.0, 2.0]), 2.0).source["operations"] == [
        {"operation": "contrast", "contrast": 2.0}
    ]


@pytest.mark.parametrize("contrast", [-0.1, 11.0, math.nan])
def test_a_power_that_makes_no_sense_is_refused(contrast):
    with pytest.raises(TraceError, match="contrast must be"):
        contrasted(trace([1.0]), contrast)


def test_a_trace_without_a_span_is_refused():
    with pytest.raises(TraceError, match="must span some time"):
        contrasted(trace([0.0], 0.0), 2.0)


def test_a_resolved_window_keeps_its_requests_and_its_tail():
    before = resolve(load("bursty.json"), rate_rps=200.0, duration_s=5.0, tail_s=1.0)
    after = before.contrasted(4.0 / 3.0)
    assert after.requests == before.requests
    tail = slice(before.requests, None)
    np.testing.assert_array_equal(after.trace.arrival_s[tail], before.trace.arrival_s[tail])
    assert after.describe()["window_cv"] > before.describe()["window_cv"]
