"""Runs that never came to a steady state, and queues that only look restless."""

import numpy as np
import pytest

from results.run.metrics import compute_metrics
from results.run.steady_state import drift
from results.run.validity import Evidence, FindingCode, check
from tests.results.made import answered, made_logs
from tests.results.queues import Server, bursty, poisson, serve

SERVER = Server(base_s=0.002, per_request_s=0.0004, max_batch_size=32)


def logs_of(latency_s):
    arrivals = np.arange(0.0, 10.0, 0.005)
    logs = made_logs(answered([0.0] * len(arrivals)))
    requests = logs.requests.assign(scheduled_s=arrivals, ended_s=arrivals + latency_s(arrivals))
    requests["enqueued_s"] = arrivals
    return type(logs)(requests, logs.batches, logs.telemetry, logs.stalls)


def noise(times_s, seed=0):
    return np.random.default_rng(seed).exponential(0.01, len(times_s))


def test_a_latency_that_grows_is_not_steady_and_the_finding_says_by_how_much():
    logs = logs_of(lambda t: noise(t) + 0.02 + 0.004 * t)
    metrics = compute_metrics(logs, 10.0)
    [finding] = check(Evidence(logs, metrics, 10.0))
    assert finding.code is FindingCode.NOT_STEADY
    assert finding.message.startswith("latency grew over the window, from about 3")
    assert "--duration" in finding.remedy


def test_a_start_that_settles_is_told_apart_from_a_drift():
    settling = drift(logs_of(lambda t: noise(t) + 0.5 * np.exp(-t / 0.7)).requests, 10.0)
    assert 1.0 < settling.settles_s < 5.0
    assert settling.last < settling.first
    drifting = drift(logs_of(lambda t: noise(t) + 0.02 + 0.004 * t).requests, 10.0)
    assert drifting.settles_s is None


def test_a_trend_that_hardly_changes_the_level_is_let_pass():
    assert drift(logs_of(lambda t: 0.1 + 0.002 * t).requests, 10.0) is None


def test_a_handful_of_requests_says_nothing():
    assert drift(made_logs(answered([0.1] * 999)).requests, 10.0) is None
    assert drift(made_logs().requests, 10.0) is None


@pytest.mark.parametrize("process", [poisson, bursty])
@pytest.mark.parametrize("utilization", [0.3, 0.7])
def test_stationary_queues_are_steady(process, utilization):
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        arrivals = process(utilization * SERVER.peak_rps, 6.0, rng)
        found.append(drift(serve(arrivals, SERVER).requests, 5.0))
    assert found == [None] * 12
