import numpy as np
import pytest

from results.run.queue_length import in_system, saturation, waiting
from tests.results.made import answered, made_logs
from tests.results.queues import Server, bursty, poisson, serve

# Service times of the order of an image model on a small GPU: at most 615 req/s.
SERVER = Server(base_s=0.02, per_request_s=0.001, max_batch_size=32)
TWO_WORKERS = Server(base_s=0.02, per_request_s=0.002, max_batch_size=32, workers=2)
WITH_TIMEOUT = Server(base_s=0.005, per_request_s=0.0005, max_batch_size=32, timeout_s=0.02)
SHORT_QUEUE = Server(base_s=0.02, per_request_s=0.001, max_batch_size=32, max_queue=256)
SLOW = Server(base_s=0.1, per_request_s=0.01, max_batch_size=8)

WINDOW_S = 30.0
SERVERS = [SERVER, TWO_WORKERS, WITH_TIMEOUT, SHORT_QUEUE]


def verdicts(process, server, utilization, draws, window_s=WINDOW_S, **process_settings):
    """Per draw: the load that the window really had, and what was said of it."""
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        arrivals = process(utilization * server.peak_rps, window_s + 2.0, rng, **process_settings)
        load = np.sum(arrivals < window_s) / window_s / server.peak_rps
        yield load, saturation(serve(arrivals, server).requests, window_s)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("utilization", [1.05, 1.3])
def test_a_load_above_the_capacity_is_saturated(server, utilization):
    assert all(how for _, how in verdicts(poisson, server, utilization, draws=3))


@pytest.mark.parametrize("server", [*SERVERS, SLOW])
@pytest.mark.parametrize("utilization", [0.3, 0.7, 0.8, 0.95])
def test_a_steady_load_below_the_capacity_is_not_saturated(server, utilization):
    assert not any(how for _, how in verdicts(poisson, server, utilization, draws=2))


@pytest.mark.parametrize("server", [SERVER, TWO_WORKERS, WITH_TIMEOUT, SLOW])
@pytest.mark.parametrize("utilization", [0.7, 0.8])
@pytest.mark.parametrize(("quiet_s", "burst_s"), [(0.15, 0.05), (1.5, 0.5)])
def test_bursts_are_not_taken_for_saturation(server, utilization, quiet_s, burst_s):
    draws = verdicts(bursty, server, utilization, 4, quiet_s=quiet_s, burst_s=burst_s)
    assert not any(how for load, how in draws if load < 0.98)


def test_long_bursts_count_only_where_the_window_as_a_whole_had_too_much():
    # Bursts of 2 s in a window of 30 s: the load of a window varies from 0.5 to 1.3.
    for load, how in verdicts(bursty, SERVER, 0.8, 20, quiet_s=6.0, burst_s=2.0):
        if load < 0.98:
            assert how is None, load
        elif load > 1.05:
            assert how is not None, load


def test_a_window_of_five_seconds_is_long_enough_to_see_it():
    assert all(how for _, how in verdicts(poisson, SERVER, 1.1, draws=5, window_s=5.0))
    assert not any(how for _, how in verdicts(poisson, SERVER, 0.8, draws=5, window_s=5.0))


def test_a_server_that_keeps_up_for_a_while_is_still_seen_to_fall_behind():
    # For four of the thirty seconds it is fast enough, afterwards 8 % too slow.
    arrivals = np.arange(0.0, 32.0, 0.001)
    ended = np.where(arrivals < 4.0, arrivals, 4.0 + (arrivals - 4.0) * 1.08) + 0.01
    requests = made_logs(answered([0.0] * len(arrivals))).requests
    assert "grew from at most" in saturation(
        requests.assign(scheduled_s=arrivals, ended_s=ended), WINDOW_S
    )


def test_a_load_that_doubles_and_is_served_all_the_same_is_not_saturated():
    calm, busy = np.arange(0.0, 15.0, 0.004), np.arange(15.0, 32.0, 0.002)
    logs = serve(np.concatenate((calm, busy)), SERVER)
    assert saturation(logs.requests, WINDOW_S) is None


def test_a_growing_backlog_that_the_run_stopped_waiting_for_is_saturated():
    # A burst in the last two seconds, of which a part was given up when the run ended.
    arrivals = np.concatenate((np.arange(0.0, 28.0, 0.01), np.arange(28.0, 30.0, 0.0005)))
    requests = serve(arrivals, SERVER).requests
    assert saturation(requests, WINDOW_S) is None
    given_up = requests["ended_s"] > 31.0
    cancelled = requests.assign(
        status=requests["status"].mask(given_up, "cancelled"),
        ended_s=requests["ended_s"].mask(given_up, 31.0),
    )
    assert "were still unanswered" in saturation(cancelled, WINDOW_S)
    lost = cancelled.assign(ended_s=requests["ended_s"].mask(given_up))
    assert "were still unanswered" in saturation(lost, WINDOW_S)


def test_failures_do_not_make_a_run_saturated():
    requests = serve(np.arange(0.0, 32.0, 0.01), SERVER).requests
    failed = requests.assign(status=np.where(np.arange(len(requests)) % 3, "ok", "failed"))
    assert saturation(failed, WINDOW_S) is None


def test_a_handful_of_requests_says_nothing():
    assert saturation(made_logs(answered([9.0] * 99)).requests, 1.0) is None
    assert saturation(made_logs().requests, 1.0) is None


def test_the_number_in_the_system_goes_up_when_due_and_down_when_ended():
    requests = made_logs(
        [
            {"scheduled_s": 1.0, "enqueued_s": 1.5, "taken_s": 2.0, "ended_s": 4.0},
            {"scheduled_s": 2.0, "enqueued_s": 2.0, "taken_s": 4.0, "ended_s": 5.0},
            {"scheduled_s": 2.0, "ended_s": 2.0, "status": "rejected"},
            {"scheduled_s": 3.0, "enqueued_s": 3.0, "status": "cancelled"},
        ]
    ).requests
    edges = np.arange(0.0, 7.0)
    assert in_system(requests).peaks(edges).tolist() == [0, 1, 2, 3, 3, 2]
    assert waiting(requests).peaks(edges).tolist() == [0, 1, 1, 2, 2, 1]
