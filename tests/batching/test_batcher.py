"""The batcher, in exact virtual time and, where callers are involved, in real time."""

import asyncio
import threading
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching import (
    BatcherClosedError,
    BatchExecutionError,
    ConfigError,
    DynamicBatcher,
    QueueFullError,
    RequestCancelledError,
    RequestExpiredError,
    VirtualClock,
)
from batching.execution.warm_up import sizes_in_order
from batching.models import AffineModel, RooflineModel
from batching.policies import Dispatch, PolicyOptions, Shed, TimeoutPolicy, Wait


def run_virtual(arrival_s, model=(0.005, 0.0001), **options):
    """Submit at these times; returns the requests and the batches, times from the start."""
    clock = VirtualClock()
    batches = []
    batcher = DynamicBatcher(
        AffineModel(*model, clock),
        clock=clock,
        observer=lambda batch, _: batches.append(batch),
        warm_up_budget_s=0,
        **options,
    )
    batcher.start()
    requests = []
    for i, at_s in enumerate(arrival_s):
        clock.sleep_until(at_s)
        requests.append(batcher.submit(i))
    batcher.stop()
    return requests, batches


class TestInVirtualTime:
    def test_a_lone_request_waits_its_timeout_and_runs(self):
        [request, _], [batch, _] = run_virtual([1.0, 2.0], batch_timeout_ms=2)
        assert batch.taken_s == 1.002
        assert batch.completed_s == 1.002 + (0.005 + 0.0001)
        assert request.result() == 0

    def test_a_full_batch_goes_at_once(self):
        _, batches = run_virtual([1.0, 1.001, 1.001, 1.5], max_batch_size=3, batch_timeout_ms=100)
        assert [(b.size, b.reason, b.taken_s) for b in batches] == [
            (3, "full", 1.001),
            (1, "drain", 1.5),
        ]

    def test_a_batch_goes_on_growing_while_the_worker_is_busy(self):
        # The first runs from 1.002 to 1.0071; the next three are overdue by then and go together.
        _, batches = run_virtual([1.0, 1.003, 1.004, 1.005, 2.0], batch_timeout_ms=2)
        assert [b.size for b in batches] == [1, 3, 1]
        assert batches[1].taken_s == batches[0].freed_s
        assert batches[1].reason == "timeout"

    def test_a_request_that_arrives_at_the_very_instant_of_dispatch_is_taken_along(self):
        _, batches = run_virtual([1.0, 1.0 + 0.002, 2.0], batch_timeout_ms=2)
        assert [b.size for b in batches] == [2, 1]

    def test_window_takes_no_more_than_its_limit_and_opens_anew_for_the_rest(self):
        _, batches = run_virtual(
            [1.0, 1.0, 1.0, 2.0], max_batch_size=2, batch_timeout_ms=10, policy="window"
        )
        assert [(b.size, b.reason) for b in batches] == [(2, "window"), (1, "window"), (1, "drain")]
        assert batches[1].taken_s == batches[0].freed_s + 0.010

    def test_timeout_zero_never_holds_anything(self):
        requests, _ = run_virtual([1.0, 2.0, 3.0], batch_timeout_ms=0)
        assert all(r.batch.taken_s == r.enqueued_s for r in requests)

    @settings(max_examples=40, deadline=None)
    @given(
        gaps=st.lists(st.sampled_from([0.0, 1e-4, 1e-3, 5e-3]), max_size=60),
        limit=st.integers(1, 8),
        timeout_ms=st.sampled_from([0.0, 0.5, 2.0, 10.0]),
        policy=st.sampled_from(["timeout", "window"]),
    )
    def test_every_request_runs_once_in_order_within_its_limit(
        self, gaps, limit, timeout_ms, policy
    ):
        arrival_s = 1.0 + np.cumsum(gaps)
        requests, batches = run_virtual(
            arrival_s, max_batch_size=limit, batch_timeout_ms=timeout_ms, policy=policy
        )
        assert [r.result() for r in requests] == list(range(len(gaps)))
        assert [r.batch.batch for r in requests] == sorted(r.batch.batch for r in requests)
        assert sum(b.size for b in batches) == len(gaps)
        assert all(b.size <= limit for b in batches)
        for before, after in pairwise(batches):
            assert after.taken_s >= before.freed_s

    @settings(max_examples=40, deadline=None)
    @given(
        gaps=st.lists(st.sampled_from([0.0, 1e-4, 1e-3, 5e-3]), min_size=1, max_size=60),
        limit=st.integers(1, 8),
        timeout_ms=st.sampled_from([0.0, 0.5, 2.0, 10.0]),
    )
    def test_timeout_agrees_with_the_rule_worked_out_by_hand(self, gaps, limit, timeout_ms):
        arrival_s = (1.0 + np.cumsum(gaps)).tolist()
        _, batches = run_virtual(arrival_s, max_batch_size=limit, batch_timeout_ms=timeout_ms)
        expected, first, free_s = [], 0, 0.0
        while first < len(arrival_s):
            fills = first + limit - 1
            full_s = arrival_s[fills] if fills < len(arrival_s) else inf
            # Without more to come the drain, at the last arrival, ends the waiting.
            due_s = min(full_s, arrival_s[first] + timeout_ms / 1e3, max(arrival_s[-1], 0.0))
            taken_s = max(free_s, due_s)
            size = min(limit, sum(a <= taken_s for a in arrival_s[first:]))
            expected.append((taken_s, size))
            free_s = taken_s + (0.005 + 0.0001 * size)
            first += size
        assert [(b.taken_s, b.size) for b in batches] == expected

    def test_zero_overhead_latency_is_the_figure_the_field_notes_give(self):
        rng = np.random.default_rng(0)
        arrival_s = 1.0 + np.cumsum(rng.exponential(1 / 2732, 40_000))
        requests, _ = run_virtual(arrival_s, batch_timeout_ms=2)
        latency_s = np.array([r.batch.delivered_s for r in requests]) - arrival_s
        assert np.quantile(latency_s, 0.99) == pytest.approx(0.0146, rel=0.02)

    def test_roofline_is_flat_to_its_knee_and_then_linear(self):
        model = RooflineModel(0.0005, 0.004, 0.00025, VirtualClock())
        assert model.batch_s(1) == model.batch_s(16) == pytest.approx(0.0045)
        assert model.batch_s(32) == 0.0085

    def test_a_policy_that_sheds_ends_requests_as_expired_and_runs_none_of_them(self):
        class Hopeless:
            def decide(self, now_s, waiting):
                return Shed(0, waiting.lanes[0].count)

            def observe(self, batch):
                raise AssertionError("nothing may run")

        [request], batches = run_virtual([1.0], policy=Hopeless())
        assert request.status == "expired"
        assert not batches
        with pytest.raises(RequestExpiredError):
            request.result()

    def test_stopping_without_draining_cancels_what_waits(self):
        clock = VirtualClock()
        batcher = DynamicBatcher(AffineModel(1.0, 0.0, clock), max_batch_size=1, clock=clock)
        batcher.start()
        running, waiting = batcher.submit(0), batcher.submit(1)
        clock.sleep_until(clock.now() + 0.5)
        batcher.stop(drain=False)
        assert (running.status, waiting.status) == ("ok", "cancelled")
        with pytest.raises(RequestCancelledError):
            waiting.result()
        counts = batcher.statistics()
        assert counts.submitted == counts.ok + counts.cancelled == 2

    def test_policies_are_told_of_batches_in_completion_order(self):
        seen = []

        class Diary:
            def decide(self, now_s, waiting):
                return Dispatch(0, 1, "greedy")

            def observe(self, batch):
                seen.append((batch.size, batch.completed_s - batch.taken_s, batch.ok))

        run_virtual([1.0, 2.0], model=(0.005, 0.0), policy=Diary())
        assert seen == [(1, pytest.approx(0.005), True)] * 2


class TestCallers:
    def test_each_awaiting_caller_gets_its_own_result(self):
        async def main():
            async with DynamicBatcher(lambda xs: [2 * x for x in xs], batch_timeout_ms=1) as b:
                return await asyncio.gather(*(b.add_request(i) for i in range(1000)))

        assert asyncio.run(main()) == [2 * i for i in range(1000)]

    def test_threads_and_event_loops_may_share_one_batcher(self):
        with DynamicBatcher(lambda xs: [x + 1 for x in xs], batch_timeout_ms=0) as batcher:
            results = {}

            def loop(base):
                async def main():
                    values = [batcher.add_request(base + i) for i in range(200)]
                    return await asyncio.gather(*values)

                results[base] = asyncio.run(main())

            def thread(base):
                results[base] = [batcher.submit(base + i).result(10) for i in range(200)]

            threads = [
                threading.Thread(target=target, args=(1000 * k,))
                for k, target in enumerate([loop, loop, thread, thread])
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        for base, values in results.items():
            assert values == [base + i + 1 for i in range(200)]

    def test_leaving_the_context_drains_what_waits(self):
        async def main():
            async with DynamicBatcher(lambda xs: xs, batch_timeout_ms=60_000) as batcher:
                tasks = [asyncio.create_task(batcher.add_request(i)) for i in range(5)]
                await asyncio.sleep(0)
            return await asyncio.gather(*tasks)

        assert asyncio.run(main()) == [0, 1, 2, 3, 4]

    def test_a_model_that_raises_fails_its_batch_and_the_batcher_goes_on(self):
        def model(xs):
            if "bad" in xs:
                raise ValueError("cannot")
            return xs

        with DynamicBatcher(model, max_batch_size=1) as batcher:
            bad, good = batcher.submit("bad"), batcher.submit("good")
            with pytest.raises(BatchExecutionError, match="ValueError: cannot") as caught:
                bad.result(10)
            assert isinstance(caught.value.__cause__, ValueError)
            assert good.result(10) == "good"

    def test_even_system_exit_in_the_model_does_not_end_the_worker(self):
        def model(xs):
            if xs == ["exit"]:
                raise SystemExit(1)
            return xs

        with DynamicBatcher(model, max_batch_size=1) as batcher:
            with pytest.raises(BatchExecutionError):
                batcher.submit("exit").result(10)
            assert batcher.submit("on").result(10) == "on"

    def test_a_model_that_returns_too_few_results_is_told_so(self):
        with DynamicBatcher(lambda xs: xs[:-1], max_batch_size=1) as batcher:
            request = batcher.submit("x")
            with pytest.raises(BatchExecutionError, match="must return 1 results, but got 0"):
                request.result(10)

    def test_a_request_before_start_or_after_stop_is_refused(self):
        batcher = DynamicBatcher(lambda xs: xs)
        with pytest.raises(BatcherClosedError):
            batcher.submit(1)
        batcher.start()
        assert batcher.submit(1).result(10) == 1
        batcher.stop()
        with pytest.raises(BatcherClosedError):
            batcher.submit(1)
        assert batcher.statistics().submitted == 1

    def test_a_cancelled_caller_does_not_disturb_its_batch(self):
        async def main():
            async with DynamicBatcher(lambda xs: xs, batch_timeout_ms=20) as batcher:
                tasks = [asyncio.create_task(batcher.add_request(i)) for i in range(3)]
                await asyncio.sleep(0)
                tasks[1].cancel()
                return await asyncio.gather(*tasks, return_exceptions=True)

        first, second, third = asyncio.run(main())
        assert (first, third) == (0, 2)
        assert isinstance(second, asyncio.CancelledError)

    def test_waiting_for_a_result_can_time_out(self):
        release = threading.Event()
        with DynamicBatcher(lambda xs: [release.wait(10)], max_batch_size=1) as batcher:
            request = batcher.submit(None)
            with pytest.raises(TimeoutError):
                request.result(0.001)
            release.set()
            assert request.result(10) is True

    def test_a_callback_added_after_the_ending_runs_at_once(self):
        with DynamicBatcher(lambda xs: xs, max_batch_size=1) as batcher:
            request = batcher.submit("x")
            request.result(10)
            seen = []
            request.add_done_callback(lambda r: seen.append(r.result()))
            assert seen == ["x"]

    def test_it_is_started_once(self):
        batcher = DynamicBatcher(lambda xs: xs)
        batcher.start()
        with pytest.raises(BatcherClosedError, match="started once"):
            batcher.start()
        batcher.stop()


class TestStarting:
    def test_every_batch_size_is_run_before_the_first_request(self):
        clock = VirtualClock()
        batcher = DynamicBatcher(AffineModel(0.005, 0.001, clock), max_batch_size=4, clock=clock)
        batcher.start()
        assert batcher.cold_start.sizes == (1, 2, 3, 4)
        assert batcher.cold_start.first_request_s == pytest.approx(0.006)
        # Each size once, and the powers of two again, for the policy to learn from.
        assert batcher.cold_start.warm_up_s == pytest.approx(7 * 0.005 + 17 * 0.001)
        batcher.stop()

    def test_a_slow_model_is_warmed_up_for_its_budget_only(self):
        clock = VirtualClock()
        batcher = DynamicBatcher(
            AffineModel(1.0, 0.0, clock), max_batch_size=64, warm_up_budget_s=4.5, clock=clock
        )
        batcher.start()
        assert batcher.cold_start.sizes == (1, 2, 4, 64)
        batcher.stop()

    @pytest.mark.parametrize(
        ("most", "budget_s", "sizes", "taught"),
        [
            pytest.param(3, 99, (1, 2, 3), [1, 2], id="powers of two are taught"),
            pytest.param(16, 10, (*range(1, 9), 16), [1, 16], id="for half the budget only"),
            pytest.param(4, 0.5, (1,), [], id="a budget that the first size exhausts"),
            pytest.param(4, 0, (), [], id="no budget"),
        ],
    )
    def test_a_policy_learns_from_the_first_half_of_the_warm_up(
        self, most, budget_s, sizes, taught
    ):
        class Noting(TimeoutPolicy):
            batches = ()

            def observe(self, batch):
                self.batches += (batch,)

        clock = VirtualClock(1000.0)
        policy = Noting(PolicyOptions(max_batch_size=most, batch_timeout_s=0.0))
        batcher = DynamicBatcher(
            AffineModel(1.0, 0.0, clock),
            max_batch_size=most,
            policy=policy,
            warm_up_budget_s=budget_s,
            clock=clock,
            replicas=2,
        )
        batcher.start()
        assert [cold.sizes for cold in batcher._life.cold_starts] == [sizes] * 2
        for worker in (0, 1):
            learned = [batch for batch in policy.batches if batch.worker == worker]
            assert [batch.size for batch in learned] == taught
            assert [batch.completed_s - batch.taken_s for batch in learned] == [1.0] * len(taught)
        batcher.stop()

    def test_a_second_slot_on_a_cpu_has_nothing_to_warm_up(self):
        clock = VirtualClock()
        model = AffineModel(1.0, 0.0, clock)
        sizes = []
        model.run = sizes.append
        model.split = lambda outputs, count: range(count)
        with DynamicBatcher(model, max_batch_size=3, in_flight=2, clock=clock):
            pass
        assert list(map(len, sizes)) == [1, 1, 3, 2, 2]

    def test_loading_and_the_first_execution_are_timed_apart(self):
        clock = VirtualClock(1000.0)
        model = AffineModel(0.25, 0.0, clock)
        model.prepare = lambda placement: clock.sleep_until(clock.now() + 2.0)
        with DynamicBatcher(model, max_batch_size=2, clock=clock, replicas=2) as batcher:
            cold, _ = batcher._life.cold_starts
        assert (cold.load_s, cold.first_request_s, cold.warm_up_s) == (2.0, 0.25, 1.0)
        assert (cold.engine_s, cold.total_s) == (None, 3.0)

    def test_the_sizes_that_matter_are_warmed_up_first(self):
        assert sizes_in_order(6) == [1, 6, 2, 4, 3, 5]
        assert sizes_in_order(1) == [1]

    def test_a_model_that_fails_to_warm_up_says_so(self):
        class Broken(AffineModel):
            def run(self, inputs):
                raise RuntimeError("no memory")

        batcher = DynamicBatcher(Broken(1.0, 0.0, VirtualClock()))
        with pytest.raises(BatchExecutionError, match="warmed up: RuntimeError: no memory"):
            batcher.start()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_batch_size": 0}, "max_batch_size must be >= 1, but got 0"),
            ({"batch_timeout_ms": -3}, "batch_timeout_ms must be >= 0, but got -3"),
            ({"batch_timeout_ms": float("nan")}, "batch_timeout_ms must be >= 0, but got nan"),
            ({"policy": "fifo"}, "policy must be one of"),
        ],
    )
    def test_limits_are_checked(self, options, message):
        with pytest.raises(ConfigError, match=message):
            DynamicBatcher(lambda xs: xs, **options)


def test_an_idle_worker_waits_without_asking_the_policy():
    class Counting:
        asked = 0

        def decide(self, now_s, waiting):
            Counting.asked += 1
            return Wait(inf)

        def observe(self, batch):
            pass

    clock = VirtualClock()
    batcher = DynamicBatcher(lambda xs: xs, policy=Counting(), clock=clock)
    batcher.start()
    clock.sleep_until(100.0)
    assert Counting.asked == 0
    for _ in range(50):
        batcher.submit(1)
        clock.sleep_until(clock.now() + 1.0)
    assert Counting.asked == 1  # not once an arrival
    batcher.stop(drain=False)


class Recorder:
    def __init__(self):
        self.arrivals = []

    def record(self, at_s, payload):
        self.arrivals.append((at_s, payload))


def test_a_recorder_is_told_of_every_arrival_refused_ones_included():
    clock = VirtualClock()
    recorder = Recorder()
    batcher = DynamicBatcher(
        AffineModel(1.0, 0.0, clock),
        max_batch_size=1,
        batch_timeout_ms=0,
        max_queue_size=1,
        recorder=recorder,
        clock=clock,
        warm_up_budget_s=0,
    )
    batcher.start()
    for at_s in (1.0, 1.25):
        clock.sleep_until(at_s)
        batcher.submit(at_s)
    clock.sleep_until(1.5)
    with pytest.raises(QueueFullError):
        batcher.submit(1.5)
    batcher.stop()
    assert recorder.arrivals == [(1.0, 1.0), (1.25, 1.25), (1.5, 1.5)]


def test_an_observer_that_raises_stops_neither_the_worker_nor_the_requests(caplog):
    def observer(record, requests):
        raise RuntimeError("no metrics today")

    with DynamicBatcher(lambda xs: xs, max_batch_size=1, observer=observer) as batcher:
        results = [batcher.submit(i).result(10.0) for i in range(10)]
    assert results == list(range(10))
    assert "the observer of batch 0 raised" in caplog.text
