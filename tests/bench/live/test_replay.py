"""The open loop: the schedule is kept whatever the system does, and every request is logged."""

import numpy as np
import pytest

from batching import BatcherClosedError, DynamicBatcher, RealClock, VirtualClock
from batching.models import AffineModel
from bench.live.logs import batch_log, request_log
from bench.live.replay import Sent, replay


def replay_virtual(arrival_s, a_s=0.005, b_s=0.0001, **options):
    clock = VirtualClock()
    batches = []
    target = DynamicBatcher(
        AffineModel(a_s, b_s, clock),
        clock=clock,
        observer=lambda batch, _: batches.append(batch),
        warm_up_budget_s=0,
        **options,
    )
    target.start()
    sent = Sent(start_s=clock.now() + 1.0)
    replay(target, arrival_s, ["a", "b", "c"], clock, sent)
    target.stop()
    frame = request_log(sent.requests, arrival_s, sent.start_s, sent.ended_s, clock.now())
    return frame, batch_log(batches, sent.start_s), sent


def test_every_request_is_sent_at_its_scheduled_time_even_when_hopelessly_overloaded():
    arrival_s = np.arange(200) / 1000
    requests, _, _ = replay_virtual(arrival_s, a_s=0.1, max_batch_size=1)
    np.testing.assert_allclose(requests.enqueued_s, requests.scheduled_s, atol=1e-12)
    # 200 requests at 0.1001 s each: the last one ends when all of them have run.
    assert requests.ended_s.iloc[-1] == pytest.approx(200 * 0.1001)
    assert (requests.status == "ok").all()


def test_simultaneous_arrivals_share_a_batch():
    requests, batches, _ = replay_virtual([0.0, 0.0, 0.0, 1.0], batch_timeout_ms=0)
    assert batches["size"].tolist() == [3, 1]
    assert requests.batch.tolist() == [0, 0, 0, 1]


def test_payloads_are_used_in_turn():
    seen = []

    def model(xs):
        seen.extend(xs)
        return xs

    clock = VirtualClock()
    target = DynamicBatcher(model, clock=clock)
    target.start()
    replay(target, [0.0, 0.1, 0.2, 0.3], ["a", "b", "c"], clock, Sent(start_s=clock.now()))
    target.stop()
    assert seen == ["a", "b", "c", "a"]


def test_times_are_relative_to_the_windows_start():
    requests, batches, sent = replay_virtual([0.25], batch_timeout_ms=0)
    row, batch = requests.iloc[0], batches.iloc[0]
    assert sent.start_s > 0.5
    assert row.scheduled_s == 0.25
    assert row.taken_s == batch.taken_s == pytest.approx(0.25)
    assert row.completed_s == pytest.approx(0.25 + 0.0051)
    assert row.ended_s == batch.delivered_s


def test_a_request_without_an_ending_is_logged_as_cancelled_when_the_log_is_cut():
    clock = VirtualClock()
    target = DynamicBatcher(AffineModel(9.0, 0.0, clock), clock=clock, warm_up_budget_s=0)
    target.start()
    request = target.submit("x")
    frame = request_log([request], [0.0], clock.now(), {}, clock.now() + 3.0)
    assert frame.status.tolist() == ["cancelled"]
    assert frame.ended_s.tolist() == [3.0]
    target.stop()


def test_the_replay_ends_early_when_it_is_told_to():
    clock = VirtualClock()
    target = DynamicBatcher(lambda xs: xs, clock=clock)
    target.start()
    sent = Sent(start_s=clock.now())

    def interrupt():
        clock.sleep_until(2.5)
        sent.stop.set()

    clock.spawn(interrupt, name="user", role="client")
    replay(target, np.arange(1000.0), ["x"], clock, sent)
    target.stop()
    assert len(sent.requests) == 3


def test_an_error_in_the_client_reaches_the_caller():
    clock = VirtualClock()
    target = DynamicBatcher(lambda xs: xs, clock=clock)
    with pytest.raises(BatcherClosedError):
        replay(target, [0.0], ["x"], clock, Sent(start_s=clock.now()))


@pytest.mark.parametrize("client", ["thread", "loop"])
def test_both_clients_send_everything_in_order_in_real_time(client):
    clock = RealClock()
    arrival_s = np.arange(300) / 3000
    with DynamicBatcher(lambda xs: xs, batch_timeout_ms=1) as target:
        sent = Sent(start_s=clock.now())
        replay(target, arrival_s, ["x"], clock, sent, client=client)
    requests = request_log(sent.requests, arrival_s, sent.start_s, sent.ended_s, clock.now())
    assert len(requests) == 300
    assert (requests.status == "ok").all()
    assert (requests.enqueued_s >= requests.scheduled_s).all()
    assert (requests.ended_s >= requests.completed_s).all()


def test_a_failing_model_is_logged_as_failed_by_both_clients():
    def model(xs):
        raise ValueError("no")

    clock = RealClock()
    for client in ("thread", "loop"):
        with DynamicBatcher(model) as target:
            sent = Sent(start_s=clock.now())
            replay(target, [0.0, 0.001], ["x"], clock, sent, client=client)
        log = request_log(sent.requests, [0.0, 0.001], sent.start_s, sent.ended_s, clock.now())
        assert log.status.tolist() == ["failed", "failed"]
