"""When things go wrong: every request still ends exactly once, and only the culprit suffers."""

import asyncio
import threading
import time
import weakref
from itertools import pairwise

import pytest

from batching import (
    BatcherClosedError,
    BatchExecutionError,
    ConfigError,
    DynamicBatcher,
    ExecuteTimeoutError,
    FaultTolerance,
    QueueFullError,
    RequestCancelledError,
    RequestExpiredError,
    VirtualClock,
    WorkerDiedError,
)
from batching.models import AffineModel
from batching.options import RetryBudget
from batching.policies import TimeoutPolicy
from batching.request import BatchRecord
from batching.workers.recovery import most_extra_executions
from tests.soak.live import mixture_in_real_time
from tests.soak.virtual import Model, Virtual, mixture_in_virtual_time, policy_arguments


def fail_on(*culprits, error=ValueError):
    def misbehave(payloads):
        found = [p for p in payloads if p in culprits]
        if found:
            raise error(f"cannot do {found}")

    return misbehave


class TestPoison:
    def test_one_bad_request_in_64_fails_alone_within_the_promised_executions(self):
        for culprit in (0, 17, 31, 32, 63):
            virtual = Virtual(fail_on(culprit), max_batch_size=64)
            requests = virtual.submit(*range(64))
            counts = virtual.stop()
            assert (counts.ok, counts.failed) == (63, 1)
            assert requests[culprit].status == "failed"
            assert all(r.result() == 2 * i for i, r in enumerate(requests) if i != culprit)
            with pytest.raises(BatchExecutionError, match="ValueError") as caught:
                requests[culprit].result()
            assert isinstance(caught.value.__cause__, ValueError)
            assert len(virtual.model.batches) - 1 <= 2 * 6 + 1

    def test_two_culprits_are_both_found(self):
        virtual = Virtual(fail_on(3, 60), max_batch_size=64)
        virtual.submit(*range(64))
        counts = virtual.stop()
        assert (counts.ok, counts.failed) == (62, 2)

    def test_a_model_that_fails_on_everything_is_run_a_bounded_number_of_times(self):
        virtual = Virtual(fail_on(*range(64)), max_batch_size=64)
        virtual.submit(*range(64))
        assert virtual.stop().failed == 64
        assert len(virtual.model.batches) <= 1 + most_extra_executions(64)

    @pytest.mark.parametrize(
        ("size", "most"), [(1, 0), (2, 6), (3, 10), (4, 10), (5, 14), (64, 26)]
    )
    def test_the_bound_is_of_four_times_the_levels_that_halving_goes_through(self, size, most):
        assert most_extra_executions(size) == most

    def test_isolation_can_be_switched_off(self):
        virtual = Virtual(fail_on(3), max_batch_size=8, faults=FaultTolerance(isolate=False))
        virtual.submit(*range(8))
        assert virtual.stop().failed == 8
        assert len(virtual.model.batches) == 1

    def test_the_log_shows_the_smaller_batches_and_the_first_failure(self):
        virtual = Virtual(fail_on(0), max_batch_size=4)
        requests = virtual.submit(*range(4))
        virtual.stop()
        assert [(r.size, r.reason, r.ok) for r in virtual.records] == [
            (4, "full", False),
            (2, "isolate", False),
            (2, "isolate", True),
            (1, "isolate", False),
            (1, "isolate", True),
        ]
        assert requests[3].attempts == 2
        assert requests[3].first_failed_s == virtual.records[0].completed_s
        assert requests[3].batch is virtual.records[2]

    def test_a_wrong_number_of_results_is_not_looked_for_in_smaller_batches(self):
        virtual = Virtual(max_batch_size=8)
        virtual.model.split = lambda outputs, count: outputs[:-1]
        requests = virtual.submit(*range(8))
        assert virtual.stop().failed == 8
        assert len(virtual.model.batches) == 1
        with pytest.raises(BatchExecutionError, match="must return 8 results, but got 7"):
            requests[0].result()


class TestOutOfMemory:
    def test_the_batch_is_halved_until_it_fits_and_the_limit_remembered(self):
        class OutOfMemoryError(RuntimeError):
            pass

        def misbehave(payloads):
            if len(payloads) > 10:
                raise OutOfMemoryError("CUDA out of memory")

        virtual = Virtual(misbehave, max_batch_size=64)
        requests = virtual.submit(*range(64))
        virtual.sleep(1)
        assert all(r.status == "ok" for r in requests)
        assert virtual.batcher.statistics().size_limits == (8,)
        before = len(virtual.model.batches)
        virtual.submit(*range(64))
        assert virtual.stop().ok == 128
        assert all(len(batch) <= 8 for batch in virtual.model.batches[before:])
        assert virtual.records[-1].limit == 8

    @pytest.mark.parametrize("told", ["as it is", "by another error", "by one with a cause"])
    def test_what_the_failed_batch_held_is_let_go_before_a_smaller_one_runs(self, told):
        class Activations:
            pass

        left = []

        def layer(count):
            activations = Activations()
            left.append((count, weakref.ref(activations)))
            if count > 4:
                raise MemoryError("too large")

        def misbehave(payloads):
            assert not any(held() for _, held in left)
            try:
                layer(len(payloads))
            except MemoryError as error:
                if told == "as it is":
                    raise
                if told == "by another error":
                    raise MemoryError("the second layer")  # noqa: B904 - what users write
                raise MemoryError("the second layer") from error

        virtual = Virtual(misbehave, max_batch_size=8)
        virtual.submit(*range(8))
        assert virtual.stop().ok == 8
        assert [count for count, _ in left] == [8, 4, 4]

    def test_a_single_request_that_does_not_fit_fails(self):
        def misbehave(payloads):
            raise MemoryError("too large")

        virtual = Virtual(misbehave, max_batch_size=4)
        virtual.submit(1)
        assert virtual.stop().failed == 1


class TestRetries:
    def test_a_transient_error_is_retried_after_its_backoff(self):
        outages = iter([True, True, False])

        def misbehave(payloads):
            if next(outages):
                raise ConnectionError("away")

        faults = FaultTolerance(max_retries=2, retry_on=(ConnectionError,), retry_backoff_ms=100)
        virtual = Virtual(misbehave, faults=faults)
        [request] = virtual.submit(7)
        assert virtual.stop().ok == 1
        first, second, third = virtual.records
        assert request.result() == 14
        assert request.attempts == 3
        assert second.taken_s == pytest.approx(first.completed_s + 0.1)
        assert third.taken_s == pytest.approx(second.completed_s + 0.2)

    def test_what_fails_more_often_than_allowed_fails(self):
        faults = FaultTolerance(max_retries=2, retry_on=(ConnectionError,))
        virtual = Virtual(fail_on(7, error=ConnectionError), faults=faults)
        virtual.submit(7)
        assert virtual.stop().failed == 1
        assert len(virtual.model.batches) == 3

    def test_an_outage_is_not_made_worse_than_the_budget_allows(self):
        faults = FaultTolerance(max_retries=5, retry_on=lambda e: True, retry_budget=0.0)
        virtual = Virtual(fail_on(*range(100)), max_batch_size=100, faults=faults)
        virtual.submit(*range(100))
        assert virtual.stop().failed == 100
        assert sum(len(batch) for batch in virtual.model.batches) == 100 + 10

    def test_successes_earn_retries(self):
        budget = RetryBudget(0.1)
        assert sum(budget.spend() for _ in range(100)) == 10
        budget.earn(50)
        assert sum(budget.spend() for _ in range(100)) == 5

    def test_a_batch_that_is_retried_comes_back_in_its_order(self):
        outage = iter([True])

        def misbehave(payloads):
            if next(outage, False):
                raise ConnectionError("away")

        faults = FaultTolerance(max_retries=1, retry_on=(ConnectionError,), retry_backoff_ms=1)
        virtual = Virtual(misbehave, max_batch_size=4, faults=faults)
        virtual.submit(1, 2, 3, 4)
        virtual.stop()
        assert virtual.model.batches == [[1, 2, 3, 4], [1, 2, 3, 4]]

    def test_a_retry_goes_ahead_of_those_that_came_later(self):
        outage = iter([True])

        def misbehave(payloads):
            if next(outage, False):
                raise ConnectionError("away")

        faults = FaultTolerance(max_retries=1, retry_on=(ConnectionError,), retry_backoff_ms=1)
        virtual = Virtual(misbehave, max_batch_size=1, faults=faults)
        virtual.submit(1, 2, 3, 4)
        virtual.stop()
        # 2 was being run while 1 backed off; then 1 goes before 3.
        assert virtual.model.batches == [[1], [2], [1], [3], [4]]


class TestAdmission:
    def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(self):
        virtual = Virtual(max_batch_size=1, max_queue_size=3)
        virtual.submit(0, 1, 2)
        virtual.sleep(0.0201)  # 0 to 2 have run, one after the other
        virtual.submit(*range(10, 13))
        virtual.sleep(0.001)  # 10 runs, two wait
        virtual.submit(13)
        with pytest.raises(QueueFullError, match="3 requests wait already") as caught:
            virtual.batcher.submit(14)
        assert caught.value.retry_after_s == pytest.approx(3 * 0.005)
        assert caught.value.request.status == "rejected"
        counts = virtual.stop()
        assert (counts.ok, counts.rejected, counts.submitted) == (7, 1, 8)

    @pytest.mark.parametrize(
        ("batches", "after_s"),
        [
            pytest.param([], 0.0, id="nothing is known"),
            pytest.param([(5.0, 4)], 0.0, id="nor by one batch"),
            # 8 in the 3 s from the first batch's end to the last one's.
            pytest.param([(5.0, 4), (6.0, 2), (8.0, 6)], 10 * 3 / 8, id="by the rate"),
            # 31 in 31 s; before that each took 10 s.
            pytest.param(
                [(10.0 * i, 1) for i in range(9)] + [(80.0 + i, 1) for i in range(1, 32)],
                10.0,
                id="of the latest 32",
            ),
        ],
    )
    def test_to_come_back_is_advised_after_the_backlog_at_the_rate_of_late(self, batches, after_s):
        core = Virtual().batcher._core
        for completed_s, size in batches:
            record = BatchRecord(size=size)
            record.completed_s = completed_s
            core.note_batch(record)
        assert core.backlog_s(10) == pytest.approx(after_s)

    def test_an_expired_request_is_never_run(self):
        virtual = Virtual(max_batch_size=1, deadline_ms=12)
        requests = virtual.submit(0, 1, 2, 3, 4)
        counts = virtual.stop()
        assert [r.status for r in requests] == ["ok", "ok", "ok", "expired", "expired"]
        assert virtual.model.batches == [[0], [1], [2]]
        assert (counts.ok, counts.expired) == (3, 2)
        with pytest.raises(RequestExpiredError, match="deadline passed"):
            requests[4].result()

    def test_a_request_may_bring_its_own_deadline(self):
        virtual = Virtual(max_batch_size=1)
        blocker, hasty, patient = (
            virtual.batcher.submit(i, deadline_ms=limit)
            for i, limit in enumerate([None, 1.0, 100.0])
        )
        virtual.stop()
        assert (blocker.status, hasty.status, patient.status) == ("ok", "expired", "ok")

    def test_a_deadline_sooner_than_the_batch_timeout_is_noticed_in_time(self):
        virtual = Virtual(batch_timeout_ms=100)
        virtual.submit("early")
        virtual.sleep(0.01)
        [request] = virtual.submit("late", deadline_ms=5)
        virtual.sleep(0.006)
        assert request.status == "expired"
        assert request.ended_s == pytest.approx(virtual.clock.now() - 0.001)
        virtual.stop()

    @pytest.mark.parametrize("deadline_ms", [0, -1, float("nan"), float("inf")])
    def test_a_deadline_that_is_no_time_is_refused_and_not_counted(self, deadline_ms):
        virtual = Virtual()
        with pytest.raises(ConfigError, match="deadline_ms must be > 0"):
            virtual.batcher.submit(1, deadline_ms=deadline_ms)
        assert virtual.stop().submitted == 0

    def test_a_higher_priority_goes_first(self):
        virtual = Virtual(max_batch_size=1)
        virtual.submit("first")
        virtual.sleep(0.002)
        virtual.submit("low", "low", priority=0)
        virtual.submit("high", priority=5)
        virtual.stop()
        assert virtual.model.batches == [["first"], ["high"], ["low"], ["low"]]

    def test_an_urgent_arrival_does_not_wait_for_others_to_fill_a_batch(self):
        virtual = Virtual(batch_timeout_ms=50)
        virtual.submit("low")
        virtual.sleep(0.03)
        [urgent] = virtual.submit("high", priority=1)
        virtual.stop()
        assert urgent.batch.size == 1

    def test_low_priority_is_later_but_not_never(self):
        virtual = Virtual(max_batch_size=1, max_starvation_ms=40)
        [low] = virtual.submit("low", priority=-1)
        for _ in range(30):  # a flood of urgent requests, more than can be served
            virtual.submit("high", "high", priority=0)
            virtual.sleep(0.005)
        assert low.status == "ok"
        assert 0.035 < low.batch.taken_s - low.enqueued_s < 0.060
        virtual.stop()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_queue_size": 0}, "max_queue_size must be >= 1, but got 0"),
            ({"deadline_ms": 0}, "deadline_ms must be > 0, but got 0"),
            ({"replicas": 0}, "replicas must be >= 1, but got 0"),
            ({"in_flight": 3}, "in_flight must be 1 or 2, but got 3"),
        ],
    )
    def test_limits_are_checked(self, options, message):
        with pytest.raises(ConfigError, match=message):
            DynamicBatcher(lambda xs: xs, **options)

    def test_fault_limits_are_checked(self):
        for options, message in [
            ({"max_retries": -1}, "max_retries must be >= 0, but got -1"),
            ({"retry_budget": 2}, "retry_budget must be from 0 to 1, but got 2"),
            ({"retry_budget": -0.5}, "retry_budget must be from 0 to 1, but got -0.5"),
            ({"execute_timeout_ms": 0}, "execute_timeout_ms must be > 0, but got 0"),
        ]:
            with pytest.raises(ConfigError, match=message):
                FaultTolerance(**options)


class TestCancelling:
    def test_a_waiting_request_is_taken_out_of_its_batch(self):
        virtual = Virtual(batch_timeout_ms=10)
        requests = virtual.submit(*range(5))
        assert virtual.batcher.cancel(requests[0])
        assert virtual.batcher.cancel(requests[3])
        assert not virtual.batcher.cancel(requests[3])
        counts = virtual.stop()
        assert virtual.model.batches == [[1, 2, 4]]
        assert (counts.ok, counts.cancelled) == (3, 2)
        with pytest.raises(RequestCancelledError):
            requests[3].result()

    def test_a_running_request_is_dropped_and_its_batch_not_disturbed(self):
        virtual = Virtual(batch_timeout_ms=0)
        requests = virtual.submit(*range(3))
        virtual.sleep(0.001)
        assert virtual.batcher.cancel(requests[1])
        counts = virtual.stop()
        assert [r.status for r in requests] == ["ok", "cancelled", "ok"]
        assert (counts.ok, counts.cancelled) == (2, 1)

    def test_a_request_that_waits_for_its_retry_can_be_cancelled(self):
        faults = FaultTolerance(max_retries=1, retry_on=(ValueError,), retry_backoff_ms=1000)
        virtual = Virtual(fail_on(1), faults=faults)
        [request] = virtual.submit(1)
        virtual.sleep(0.1)
        assert virtual.batcher.cancel(request)
        assert virtual.stop().cancelled == 1
        assert virtual.clock.now() < 1.0

    def test_a_thousand_cancelled_requests_leave_the_others_in_order(self):
        virtual = Virtual(batch_timeout_ms=10, max_batch_size=64)
        requests = virtual.submit(*range(1500))
        for i, request in enumerate(requests):
            if i % 3:
                virtual.batcher.cancel(request)
        counts = virtual.stop()
        assert (counts.ok, counts.cancelled) == (500, 1000)
        assert [x for batch in virtual.model.batches for x in batch] == list(range(0, 1500, 3))

    def test_one_cancelled_while_its_batch_is_taken_apart_is_not_run_again(self):
        batches = []

        def misbehave(payloads):
            batches.append(list(payloads))
            if len(payloads) == 4:
                raise ValueError("one of them is bad")
            if payloads == [0, 1]:
                assert virtual.batcher.cancel(requests[2])

        virtual = Virtual(misbehave, max_batch_size=4)
        requests = virtual.submit(*range(4))
        counts = virtual.stop()
        assert batches == [[0, 1, 2, 3], [0, 1], [3]]
        assert (counts.ok, counts.cancelled) == (3, 1)


class TestWorkers:
    def test_a_worker_that_dies_is_replaced_and_its_requests_are_run_again(self):
        class Frail(TimeoutPolicy):
            deaths = 0

            def observe(self, batch):
                if batch.size == 2 and self.deaths < 1:
                    self.deaths += 1
                    raise RuntimeError("policy broke")

        frail = Frail(*policy_arguments(batch_timeout_s=0.001))
        virtual = Virtual(policy=frail)
        requests = virtual.submit(1, 2)
        virtual.sleep(0.1)
        later = virtual.submit(3)
        counts = virtual.stop()
        assert frail.deaths == 1
        assert all(r.status == "ok" for r in requests + later)
        assert counts.ok == 3

    def test_a_worker_that_dies_again_and_again_is_given_up_and_nobody_waits_for_ever(self):
        class Broken(TimeoutPolicy):
            def decide(self, now_s, waiting):
                raise RuntimeError("policy broke")

        virtual = Virtual(policy=Broken(*policy_arguments()))
        requests = virtual.submit(1, 2)
        virtual.sleep(1.0)
        assert all(r.status == "failed" for r in requests)
        with pytest.raises(WorkerDiedError):
            requests[0].result()
        assert not virtual.batcher.ready
        with pytest.raises(QueueFullError, match="no replica answers"):
            virtual.batcher.submit(3)
        assert virtual.stop().failed == 2

    def test_a_hung_batch_fails_in_time_and_its_late_results_are_dropped(self):
        virtual = None

        def misbehave(payloads):
            if "hang" in payloads:
                virtual.sleep(10.0)

        faults = FaultTolerance(execute_timeout_ms=100)
        virtual = Virtual(misbehave, batch_timeout_ms=0, faults=faults)
        [hung] = virtual.submit("hang")
        virtual.sleep(0.2)
        assert hung.status == "failed"
        with pytest.raises(ExecuteTimeoutError):
            hung.result()
        assert virtual.batcher.statistics().healthy_replicas == 0
        virtual.sleep(20.0)  # the thread comes back: it serves again
        assert virtual.batcher.statistics().healthy_replicas == 1
        [again] = virtual.submit(4)
        assert virtual.stop().ok == 1
        assert again.result() == 8
        assert hung.status == "failed"

    def test_what_a_hung_replica_held_goes_to_another(self):
        virtual = None
        hangs = iter([True])

        def misbehave(payloads):
            if next(hangs, False):
                virtual.sleep(1000.0)

        faults = FaultTolerance(execute_timeout_ms=100)
        virtual = Virtual(misbehave, batch_timeout_ms=0, faults=faults, replicas=2)
        [request] = virtual.submit(21)
        virtual.sleep(0.2)
        assert request.result() == 42
        assert request.batch.worker == 1
        assert request.attempts == 2, "the one that hung counts"
        assert request.first_failed_s == pytest.approx(0.1, abs=0.025)
        assert virtual.batcher.statistics().healthy_replicas == 1
        assert virtual.stop().ok == 1

    def test_stopping_does_not_wait_for_a_worker_that_was_given_up(self):
        virtual = None

        def misbehave(payloads):
            virtual.sleep(1e6)

        faults = FaultTolerance(execute_timeout_ms=100)
        virtual = Virtual(misbehave, batch_timeout_ms=0, faults=faults)
        virtual.submit(1)
        assert virtual.stop().failed == 1
        assert virtual.clock.now() < 1.0


class TestReplicas:
    def test_no_request_waits_while_a_replica_is_free(self):
        virtual = Virtual(max_batch_size=1, replicas=3)
        requests = virtual.submit(*range(7))
        virtual.stop()
        waits = [r.batch.taken_s - r.enqueued_s for r in requests]
        assert waits == pytest.approx([0, 0, 0, 0.005, 0.005, 0.005, 0.010])
        assert [r.batch.worker for r in requests[:3]] == [0, 1, 2]

    def test_the_lowest_free_index_serves_first(self):
        virtual = Virtual(max_batch_size=1, replicas=3)
        for _ in range(5):
            [request] = virtual.submit(1)
            virtual.sleep(0.1)
            assert request.batch.worker == 0
        virtual.stop()

    def test_a_freed_lower_index_takes_over_the_waiting(self):
        virtual = Virtual(max_batch_size=2, batch_timeout_ms=20, replicas=2)
        virtual.submit(1, 2)  # worker 0, busy for 5 ms
        virtual.sleep(0.001)
        [request] = virtual.submit(3)  # worker 1 begins to wait with it
        virtual.sleep(0.1)
        virtual.stop()
        assert request.batch.worker == 0

    def test_two_batches_in_flight_overlap_collation_with_execution(self):
        clock = VirtualClock()

        class Slow(AffineModel):
            def collate(self, payloads, staging):
                clock.sleep_until(clock.now() + 0.004)
                return super().collate(payloads, staging)

        def total_s(in_flight):
            batcher = DynamicBatcher(
                Slow(0.005, 0.0, clock),
                max_batch_size=4,
                in_flight=in_flight,
                clock=clock,
                warm_up_budget_s=0,
            )
            batcher.start()
            began_s = clock.now()
            requests = [batcher.submit(i) for i in range(40)]
            batcher.stop()
            assert [r.result() for r in requests] == list(range(40))
            return clock.now() - began_s

        assert total_s(1) == pytest.approx(10 * 0.009)
        assert total_s(2) == pytest.approx(0.004 + 10 * 0.005)

    def test_only_a_full_batch_goes_ahead_and_a_partial_one_stays_open(self):
        virtual = Virtual(max_batch_size=4, in_flight=2, batch_timeout_ms=0)
        virtual.submit(*range(4))
        virtual.sleep(0.001)
        virtual.submit(4, 5)  # not full: stays open while the device runs
        virtual.sleep(0.001)
        virtual.submit(6)
        virtual.stop()
        assert virtual.model.batches == [[0, 1, 2, 3], [4, 5, 6]]
        assert virtual.records[1].taken_s == pytest.approx(virtual.records[0].completed_s)

    def test_the_device_runs_one_batch_at_a_time(self):
        virtual = Virtual(max_batch_size=2, in_flight=2)
        virtual.submit(*range(12))
        virtual.stop()
        spans = sorted((r.started_s, r.completed_s) for r in virtual.records)
        assert all(b[0] >= a[1] - 1e-12 for a, b in pairwise(spans))

    def test_replicas_share_the_load_in_real_threads(self):
        seen = set()

        def model(xs):
            seen.add(threading.get_ident())
            time.sleep(0.002)
            return xs

        with DynamicBatcher(model, max_batch_size=2, batch_timeout_ms=0, replicas=3) as batcher:
            requests = [batcher.submit(i) for i in range(200)]
            assert [r.result(30) for r in requests] == list(range(200))
        assert len(seen) == 3


class TestLanes:
    def test_requests_of_different_shape_never_share_a_batch(self):
        class Shaped(Model):
            def lane_key(self, payload):
                return len(payload)

        clock = VirtualClock()
        model = Shaped(clock)
        batcher = DynamicBatcher(model, clock=clock, batch_timeout_ms=5, warm_up_budget_s=0)
        batcher.start()
        for payload in ["a", "bb", "c", "dd", "eee", "f"]:
            batcher.submit(payload)
        batcher.stop()
        assert sorted(model.batches) == [["a", "c", "f"], ["bb", "dd"], ["eee"]]

    def test_torch_tensors_are_kept_apart_by_shape_and_type(self):
        import torch

        from batching.models.torch_model import TorchModel

        model = TorchModel(torch.nn.Identity, lambda rng: torch.zeros(3), name="identity")
        with DynamicBatcher(model, batch_timeout_ms=20, device="cpu") as batcher:
            tensors = [torch.zeros(3), torch.zeros(4), torch.ones(3), torch.zeros(4)]
            requests = [batcher.submit(t) for t in tensors]
            for tensor, request in zip(tensors, requests, strict=True):
                assert torch.equal(request.result(30), tensor)
            assert requests[0].batch is requests[2].batch
            assert requests[0].batch is not requests[1].batch

    def test_length_buckets_pad_to_their_bound(self):
        import torch

        from batching.models.torch_model import TokenModel

        shapes = []

        class Count(torch.nn.Module):
            def forward(self, input_ids, attention_mask):
                shapes.append(tuple(input_ids.shape))
                return attention_mask.sum(1, keepdim=True)

        model = TokenModel(
            Count, lambda rng: torch.ones(5, dtype=torch.int64), name="n", length_buckets=(8, 16)
        )
        with DynamicBatcher(model, batch_timeout_ms=20, device="cpu", max_batch_size=4) as batcher:
            shapes.clear()  # warm-up
            lengths = [3, 10, 8, 16, 20]
            requests = [batcher.submit(torch.ones(n, dtype=torch.int64)) for n in lengths]
            assert [int(r.result(30)) for r in requests] == lengths
        assert sorted(shapes) == [(1, 20), (2, 8), (2, 16)]
        assert requests[0].batch.padded_elements == 16
        assert requests[0].batch.real_elements == 11


class TestCallersOfEveryKind:
    def test_an_awaiting_caller_that_gives_up_frees_its_place(self):
        async def main():
            async with DynamicBatcher(
                lambda xs: xs, batch_timeout_ms=50, max_queue_size=2
            ) as batcher:
                first = asyncio.create_task(batcher.add_request(1))
                second = asyncio.create_task(batcher.add_request(2))
                await asyncio.sleep(0)
                with pytest.raises(QueueFullError):
                    await batcher.add_request(3)
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)
                assert await batcher.add_request(4) == 4
                assert await first == 1
            return batcher.statistics()

        counts = asyncio.run(main())
        assert (counts.ok, counts.cancelled, counts.rejected) == (2, 1, 1)

    def test_a_caller_on_a_loop_that_was_closed_disturbs_nobody(self):
        with DynamicBatcher(lambda xs: xs, batch_timeout_ms=30) as batcher:
            loop = asyncio.new_event_loop()
            batcher.submit("gone", loop)
            loop.close()
            assert batcher.submit("here").result(10) == "here"
        assert batcher.statistics().ok == 2

    def test_a_loop_closed_with_a_cancelled_request_in_flight_is_let_go(self):
        import gc
        import weakref

        release = threading.Event()

        def model(xs):
            release.wait(10)
            return xs

        async def give_up(batcher):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.add_request(1), 0.02)

        with DynamicBatcher(model, batch_timeout_ms=0) as batcher:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(give_up(batcher))
            loop.close()
            gone = weakref.ref(loop)
            del loop
            release.set()
        asyncio.run(asyncio.sleep(0))
        del batcher
        gc.collect()
        assert gone() is None

    def test_an_idle_batcher_uses_no_processor(self):
        with DynamicBatcher(lambda xs: xs, batch_timeout_ms=0, replicas=2, in_flight=2):
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.05  # a spinning thread would take it all


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_request_ends_exactly_once_with_its_own_result(seed):
    mixture_in_virtual_time(seed, 5000)


def test_a_closed_batcher_refuses_without_counting():
    virtual = Virtual()
    virtual.stop()
    with pytest.raises(BatcherClosedError):
        virtual.batcher.submit(1)
    assert virtual.batcher.statistics().submitted == 0


def test_a_mixture_in_real_threads_ends_every_request_exactly_once():
    assert mixture_in_real_time(0, 8_000).ok > 1_000


def test_a_retry_returns_to_its_own_lane_even_if_that_is_empty():
    outage = iter([True])

    def misbehave(payloads):
        if next(outage, False):
            raise ConnectionError("away")

    faults = FaultTolerance(max_retries=1, retry_on=(ConnectionError,), retry_backoff_ms=2)
    virtual = Virtual(misbehave, max_batch_size=1, faults=faults)
    virtual.submit("urgent", priority=3)
    virtual.sleep(0.001)
    virtual.submit("plain", "plain", "plain")
    virtual.stop()
    assert virtual.model.batches == [["urgent"], ["plain"], ["urgent"], ["plain"], ["plain"]]


@pytest.mark.parametrize(
    ("share", "successes", "retries"),
    [
        (0.1, 0, 10),  # ten to begin with
        (0.1, 50, 15),
        (0.1, 10_000, 100),  # however long all went well
        (0.0, 10_000, 10),
    ],
)
def test_successes_earn_retries_up_to_a_hundred(share, successes, retries):
    budget = RetryBudget(share)
    budget.earn(successes)
    assert [budget.spend() for _ in range(retries)] == [True] * retries
    assert not budget.spend()
