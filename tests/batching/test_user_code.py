"""What users write may raise anything anywhere: it is logged, and nobody else is harmed."""

import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest

from batching import (
    BatchExecutionError,
    DynamicBatcher,
    ExecuteTimeoutError,
    FaultTolerance,
    QueueFullError,
    WorkerDiedError,
)
from batching.errors import WrongOutputCountError, first_paragraph
from batching.policies import Dispatch, TimeoutPolicy
from batching.user_code import call, call_each
from tests.soak.virtual import Virtual, policy_arguments

SECONDS = 20.0
ANYTHING = [ValueError("a bug"), SystemExit(1), KeyboardInterrupt(), StopIteration(), MemoryError()]


def raising(error):
    def function(*_):
        raise error

    return function


@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
class TestWhateverIsRaised:
    def test_by_a_done_callback_the_others_of_its_batch_are_answered(self, error, caplog):
        async def main():
            batcher = DynamicBatcher(list, max_batch_size=4, batch_timeout_ms=1000)
            async with batcher:
                bad = batcher.submit("bad")
                bad.add_done_callback(raising(error))
                seen = []
                bad.add_done_callback(lambda r: seen.append(r.value))
                answers = asyncio.gather(*(batcher.add_request(i) for i in range(3)))
                assert await asyncio.wait_for(answers, SECONDS) == [0, 1, 2]
                assert await asyncio.wait_for(batcher.add_request(9), SECONDS) == 9
                assert seen == ["bad"]
                assert bad.result(SECONDS) == "bad"

        asyncio.run(main())
        assert "a done-callback raised" in caplog.text

    def test_by_an_observer_or_the_policys_observe_no_request_and_no_worker_notices(
        self, error, caplog
    ):
        class Frail(TimeoutPolicy):
            observe = raising(error)

        seen = []
        virtual = Virtual(policy=Frail(*policy_arguments()), max_batch_size=2)
        virtual.batcher.add_observer(raising(error))
        virtual.batcher.add_observer(lambda record, _: seen.append(record.size))
        requests = virtual.submit(*range(20))
        assert virtual.stop().ok == 20
        assert [r.attempts for r in requests] == [1] * 20
        assert seen == [2] * 10
        assert "the observer of batch 0 raised" in caplog.text
        assert "the policy's observe raised" in caplog.text
        assert "died" not in caplog.text

    def test_by_a_recorder_the_request_is_served_all_the_same(self, error, caplog):
        recorder = SimpleNamespace(record=raising(error))
        with DynamicBatcher(list, recorder=recorder, batch_timeout_ms=0) as batcher:
            if isinstance(error, Exception):
                assert batcher.submit(1).result(SECONDS) == 1
            else:  # this is the main thread, where it means something
                with pytest.raises(type(error)):
                    batcher.submit(1)
        assert batcher.statistics().ok == 1
        assert "the recorder raised" in caplog.text

    def test_by_the_test_for_transient_errors_they_are_not(self, error, caplog):
        def misbehave(payloads):
            if 3 in payloads:
                raise ValueError("poison")

        faults = FaultTolerance(max_retries=3, retry_on=raising(error))
        virtual = Virtual(misbehave, max_batch_size=4, faults=faults)
        requests = virtual.submit(*range(12))
        counts = virtual.stop()
        assert (counts.ok, counts.failed) == (11, 1)
        assert requests[3].status == "failed"
        assert counts.healthy_replicas == 1
        assert "retry_on raised" in caplog.text
        assert "died" not in caplog.text


class TestTheRule:
    def test_what_ends_a_program_goes_on_in_the_main_thread_after_all_were_called(self):
        seen = []
        with pytest.raises(KeyboardInterrupt):
            call_each("it", [raising(KeyboardInterrupt()), seen.append], 1)
        assert seen == [1]

    def test_it_does_not_in_another_thread(self):
        outcome = []
        thread = threading.Thread(
            target=lambda: outcome.append(call("it", raising(SystemExit()), otherwise="instead"))
        )
        thread.start()
        thread.join()
        assert outcome == ["instead"]


class Liar(list):
    """Says it has as many as it should, and does not."""

    def __init__(self, items, length):
        super().__init__(items)
        self.length = length

    def __len__(self):
        return self.length


class Fragile(Liar):
    def __iter__(self):
        yield 0
        raise RuntimeError("the cursor is gone")


class TestResults:
    @pytest.mark.parametrize(
        ("results", "message"),
        [
            (lambda n: [0] * (n - 1), "must return 4 results, but got 3"),
            (lambda n: Liar([0], n), "must return 4 results, but got 1"),
            (lambda n: Liar([0] * 9, n), "must return 4 results, but got 5 or more"),
            (lambda n: Fragile([], n), "the cursor is gone"),
            (lambda n: None, "but got None"),
            (lambda n: {i: i for i in range(n)}, "a dict, which has names"),
        ],
    )
    def test_all_are_looked_at_before_the_first_is_handed_out(self, results, message):
        virtual = Virtual(max_batch_size=4)
        virtual.model.split = lambda outputs, count: results(count)
        requests = virtual.submit(*range(4))
        virtual.sleep(1.0)
        assert [r.status for r in requests] == ["failed"] * 4
        assert len({id(r.value) for r in requests}) == 4
        for request in requests:
            with pytest.raises(BatchExecutionError, match=message) as caught:
                request.result()
        assert isinstance(caught.value.__cause__, WrongOutputCountError)
        assert len(virtual.model.batches) == 1  # smaller batches would do no better
        counts = virtual.stop()
        assert (counts.failed, counts.in_flight) == (4, 0)

    def test_a_function_may_empty_the_list_it_was_given(self):
        def model(payloads):
            results = []
            while payloads:
                results.append(payloads.pop(0))
            return results

        with DynamicBatcher(model, max_batch_size=3, batch_timeout_ms=50) as batcher:
            requests = [batcher.submit(i) for i in range(3)]
            assert [r.result(SECONDS) for r in requests] == [0, 1, 2]


class TestPolicies:
    @pytest.mark.parametrize(
        "answer",
        [
            None,
            "go",
            Dispatch(7, 1, "no such lane"),
            Dispatch(0, 0, "nothing"),
            Dispatch(0, -2, "less than nothing"),
            Dispatch(0, 1.5, "half a request"),
        ],
        ids=str,
    )
    def test_nonsense_is_a_death_and_loses_nobody(self, answer):
        class Nonsense(TimeoutPolicy):
            def decide(self, now_s, waiting):
                return answer

        virtual = Virtual(policy=Nonsense(*policy_arguments()))
        requests = virtual.submit(1, 2, 3)
        virtual.sleep(1.0)
        assert [r.status for r in requests] == ["failed"] * 3
        assert len({id(r.value) for r in requests}) == 3
        assert virtual.stop().failed == 3

    def test_a_policy_that_takes_more_than_there_are_gets_those_there_are(self):
        class Greedy(TimeoutPolicy):
            def decide(self, now_s, waiting):
                return Dispatch(0, 1000, "greedy")

        virtual = Virtual(policy=Greedy(*policy_arguments()), max_batch_size=1000)
        requests = virtual.submit(1, 2, 3)
        virtual.sleep(1.0)
        assert [r.result() for r in requests] == [2, 4, 6]
        virtual.stop()

    def test_a_policy_may_look_at_its_batcher(self):
        depths = []

        class Curious(TimeoutPolicy):
            def decide(self, now_s, waiting):
                depths.append(virtual.batcher.statistics().queue_depth)
                return super().decide(now_s, waiting)

        virtual = Virtual(policy=Curious(*policy_arguments()))
        virtual.submit(1, 2)
        assert virtual.stop().ok == 2
        assert depths[0] == 2

    def test_what_expired_before_the_policy_raised_is_told_so(self):
        class Broken(TimeoutPolicy):
            broken = False

            def decide(self, now_s, waiting):
                if self.broken:
                    raise RuntimeError("policy broke")
                return super().decide(now_s, waiting)

        policy = Broken(*policy_arguments(batch_timeout_s=10.0))
        virtual = Virtual(policy=policy)
        told = []
        [hasty] = virtual.submit(1, deadline_ms=5)
        hasty.add_done_callback(lambda r: told.append(r.status))
        virtual.sleep(0.001)
        policy.broken = True
        virtual.sleep(1.0)
        assert told == ["expired"]
        virtual.stop()


class Dying(TimeoutPolicy):
    """Raises as often as it is told to before each answer."""

    pending = 0

    def decide(self, now_s, waiting):
        if self.pending:
            self.pending -= 1
            raise RuntimeError("policy broke")
        return super().decide(now_s, waiting)


class TestDeaths:
    def test_at_the_fifth_in_a_row_a_worker_is_given_up(self, caplog):
        policy = Dying(*policy_arguments())
        policy.pending = 1000
        virtual = Virtual(policy=policy)
        [request] = virtual.submit(1)
        virtual.sleep(1.0)
        assert caplog.text.count("died and is replaced") == 5
        with pytest.raises(WorkerDiedError):
            request.result()
        with pytest.raises(QueueFullError, match="no replica answers"):
            virtual.batcher.submit(2)
        counts = virtual.stop()
        assert (counts.failed, counts.rejected, counts.submitted) == (1, 1, 2)

    def test_a_batch_in_between_makes_it_count_anew(self):
        policy = Dying(*policy_arguments())
        virtual = Virtual(policy=policy)
        for i in range(5):
            policy.pending = 4
            [request] = virtual.submit(i)
            virtual.sleep(1.0)
            assert request.result() == 2 * i
        assert virtual.stop().healthy_replicas == 1

    def test_a_request_that_hung_two_workers_is_not_given_to_a_third(self):
        hung = []

        def misbehave(payloads):
            if "hang" in payloads:
                hung.append(virtual.clock.now())
                virtual.sleep(1e3)

        faults = FaultTolerance(execute_timeout_ms=100)
        virtual = Virtual(misbehave, batch_timeout_ms=0, faults=faults, replicas=3)
        [request] = virtual.submit("hang")
        virtual.sleep(0.5)
        with pytest.raises(ExecuteTimeoutError):
            request.result()
        assert len(hung) == 2
        assert virtual.batcher.statistics().healthy_replicas == 1
        [other] = virtual.submit(4)
        assert virtual.stop().ok == 1
        assert other.result() == 8

    @pytest.mark.parametrize("in_flight", [1, 2])
    def test_nothing_is_given_to_a_worker_whose_device_hangs(self, in_flight):
        def misbehave(payloads):
            if "hang" in payloads and virtual.clock.now() < 1.0:
                virtual.sleep(30.0)

        faults = FaultTolerance(execute_timeout_ms=100)
        virtual = Virtual(
            misbehave,
            batch_timeout_ms=0,
            max_batch_size=1,
            faults=faults,
            replicas=2,
            in_flight=in_flight,
        )
        virtual.submit("hang")
        virtual.sleep(0.15)  # worker 0 is given up, and soon worker 1
        later = []
        for i in range(10):
            virtual.sleep(0.2)
            try:
                later += virtual.submit(i)
            except QueueFullError:
                continue
        virtual.sleep(60.0)  # both have come back
        assert virtual.batcher.statistics().healthy_replicas == 2
        assert [r.status for r in later] == ["ok"] * len(later)
        after = virtual.submit(*range(4))
        assert virtual.stop().in_flight == 0
        assert {r.batch.worker for r in after} == {0, 1}

    def test_a_slot_that_returns_is_asked_though_the_other_still_hangs(self):
        # Slot 0 answers 1 in time; then 2 hangs in slot 1, and 3 in slot 0 as soon as that is over.
        times_s = {1: 0.045, 2: 0.995, 3: 100.0}
        virtual = Virtual(
            lambda payloads: virtual.sleep(times_s.get(payloads[0], 0.0)),
            max_batch_size=1,
            batch_timeout_ms=0,
            in_flight=2,
            faults=FaultTolerance(execute_timeout_ms=100),
        )
        requests = virtual.submit(1, 2, 3)
        virtual.sleep(0.5)
        assert [r.status for r in requests] == ["ok", "failed", "failed"]
        assert not virtual.batcher.ready
        virtual.sleep(1.0)  # slot 1 is back, and the device is at 3
        [late] = virtual.submit(4)
        virtual.sleep(0.2)
        with pytest.raises(ExecuteTimeoutError):
            late.result()
        assert not virtual.batcher.ready
        virtual.sleep(100.0)
        [again] = virtual.submit(5)
        assert virtual.stop().ok == 2
        assert again.result() == 10

    def test_a_slot_that_returns_late_leaves_the_other_its_batch(self):
        # 1 hangs in slot 0 until 1.0 s, and 2 then in slot 1 until 2.0 s.
        times_s = {1: 0.995, 2: 0.995, 3: 0.035}
        virtual = Virtual(
            lambda payloads: virtual.sleep(times_s.get(payloads[0], 0.0)),
            max_batch_size=1,
            batch_timeout_ms=0,
            in_flight=2,
            faults=FaultTolerance(execute_timeout_ms=100),
        )
        virtual.submit(1, 2)
        virtual.sleep(1.95)
        [first] = virtual.submit(3)  # slot 0 has it, and the device from 2.0 s to 2.04 s
        virtual.sleep(0.06)
        [second] = virtual.submit(4)
        assert virtual.stop().ok == 2
        assert first.batch.delivered_s == pytest.approx(2.04)
        assert second.batch.taken_s == pytest.approx(2.01), "slot 1 had nothing to do"

    def test_retries_are_earned_by_what_succeeds(self):
        outage = [False]

        def misbehave(payloads):
            if outage[0]:
                raise ConnectionError("away")

        faults = FaultTolerance(
            max_retries=1, retry_on=ConnectionError, retry_budget=0.5, isolate=False
        )
        virtual = Virtual(misbehave, max_batch_size=100, faults=faults)
        virtual.submit(*range(100))
        virtual.sleep(0.1)
        outage[0] = True
        virtual.submit(*range(100))
        virtual.stop()
        # The bucket's ten, and half of the hundred that went well.
        assert sum(len(batch) for batch in virtual.model.batches[1:]) == 100 + 60


class TestTwoInFlight:
    def test_a_worker_is_free_since_it_holds_nothing(self):
        virtual = Virtual(max_batch_size=1, in_flight=2, batch_timeout_ms=0)
        virtual.submit(1, 2, 3)
        virtual.sleep(1.0)
        [late] = virtual.submit(4)
        virtual.stop()
        first, second, third = virtual.records[:3]
        assert late.batch.free_since_s == pytest.approx(third.freed_s)
        # It held a batch all along, so it has not been free since it began.
        assert {second.free_since_s, third.free_since_s} == {first.free_since_s}

    def test_of_two_that_end_at_one_instant_the_one_that_is_wholly_free_goes_first(self):
        virtual = Virtual(max_batch_size=1, in_flight=2, replicas=2, batch_timeout_ms=0)
        began_s = virtual.clock.now()
        virtual.submit(0)  # to worker 0, from 0 to 5 ms
        virtual.clock.sleep_until(began_s + 0.0025)
        virtual.submit(1, 2)  # to worker 1, from 2.5 to 7.5 ms, and ahead to worker 0, to 10 ms
        virtual.clock.sleep_until(began_s + 0.0075)
        [request] = virtual.submit(3)  # worker 1 is free from this instant on
        virtual.stop()
        assert request.batch.worker == 1
        assert request.batch.taken_s == request.batch.started_s


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "ValueError"),
        ("one\n  two", "ValueError: one two"),
        ("\n\nfirst\nline\n\nand advice", "ValueError: first line"),
        ("x" * 300, "ValueError: " + "x" * 300),
        ("x" * 300 + "y", "ValueError: " + "x" * 300),
    ],
)
def test_of_a_long_error_the_first_paragraph_is_told_on_one_line(said, told):
    assert first_paragraph(ValueError(said)) == told


def test_the_log_is_the_packages_own(caplog):
    with caplog.at_level(logging.ERROR, logger="batching"):
        call("something", raising(ValueError("why")))
    [record] = caplog.records
    assert (record.name, record.message) == ("batching", "something raised")
