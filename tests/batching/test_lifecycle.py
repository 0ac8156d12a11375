"""Starting, stopping, forking, and being called from the wrong thread: nobody is left waiting."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from batching import (
    BatcherClosedError,
    BatchExecutionError,
    ConfigError,
    DynamicBatcher,
    FaultTolerance,
    RequestCancelledError,
    VirtualClock,
    WrongThreadError,
)
from batching.models import AffineModel
from batching.workers.switching import quick_switching
from tests.soak.virtual import Virtual

SECONDS = 20.0  # far more than anything here takes


def held(**options):
    """A live batcher whose model waits for `go`, and both events: `entered`, `go`."""
    entered, go = threading.Event(), threading.Event()

    def model(xs):
        entered.set()
        go.wait(SECONDS)
        return list(xs)

    options = {"max_batch_size": 1, "batch_timeout_ms": 0, "warm_up_budget_s": 0} | options
    return DynamicBatcher(model, **options), entered, go


class TestOutsideStartAndStop:
    def test_an_early_submit_with_a_deadline_leaves_nothing_behind(self):
        clock = VirtualClock()
        batcher = DynamicBatcher(AffineModel(0.001, 0.0, clock), clock=clock, deadline_ms=50)
        with pytest.raises(BatcherClosedError):
            batcher.submit(1)
        with pytest.raises(BatcherClosedError):
            batcher.submit(1, deadline_ms=5, priority=3)
        batcher.start()
        clock.sleep_until(clock.now() + 1.0)
        for i in range(4):
            assert batcher.submit(i, deadline_ms=20) is not None
            clock.sleep_until(clock.now() + 1.0)
        batcher.stop()
        counts = batcher.statistics()
        assert (counts.submitted, counts.ok, counts.queue_depth) == (4, 4, 0)

    def test_a_submit_during_the_drain_concerns_itself_only(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0, deadline_ms=2000)
        requests = virtual.submit(0, 1, 2, 3)
        refused = []

        def late():
            virtual.sleep(0.007)
            try:
                virtual.batcher.submit(99, deadline_ms=1)
            except BatcherClosedError as error:
                refused.append(error)

        thread = virtual.clock.spawn(late, name="late", role="client")
        counts = virtual.stop()
        virtual.clock.join(thread)
        assert len(refused) == 1
        assert [r.status for r in requests] == ["ok"] * 4
        assert (counts.submitted, counts.ok, counts.expired) == (4, 4, 0)

    def test_a_request_that_slips_in_as_the_last_replica_is_given_up_is_refused(self):
        virtual = Virtual()
        core = virtual.batcher._core
        core.open, was_open = False, core.open  # as seen by a submit that was overtaken
        core.healthy[0] = False
        try:
            with pytest.raises(Exception, match="no replica answers") as caught:
                virtual.batcher.submit(1)
        finally:
            core.open, core.healthy[0] = was_open, True
        assert caught.value.retry_after_s == float("inf")
        counts = virtual.stop()
        assert (counts.submitted, counts.rejected) == (1, 1)

    def test_a_request_that_slips_in_just_before_the_start_is_served(self):
        virtual = Virtual()
        core = virtual.batcher._core
        withdraw = core.withdraw

        def opened_meanwhile(request):
            core.open = True
            withdraw(request)

        core.open, core.withdraw = False, opened_meanwhile
        [request] = virtual.submit(4)
        assert virtual.stop().ok == 1
        assert request.result() == 8

    def test_a_batcher_that_was_stopped_is_not_started_again(self):
        batcher = DynamicBatcher(lambda xs: xs)
        batcher.stop()
        with pytest.raises(BatcherClosedError, match="stopped is not started again"):
            batcher.start()
        with pytest.raises(BatcherClosedError):
            batcher.submit(1)
        batcher.stop()


class TestStopping:
    def test_without_draining_whoever_awaits_is_told_even_while_the_model_runs(self):
        async def main():
            batcher, entered, go = held()
            await asyncio.to_thread(batcher.start)
            tasks = [asyncio.create_task(batcher.add_request(i)) for i in range(4)]
            await asyncio.to_thread(entered.wait, SECONDS)
            stopping = asyncio.create_task(asyncio.to_thread(batcher.stop, drain=False))
            done, _ = await asyncio.wait(tasks[1:], timeout=SECONDS)
            assert len(done) == 3
            go.set()
            await stopping
            return await asyncio.gather(*tasks, return_exceptions=True), batcher.statistics()

        answers, counts = asyncio.run(main())
        assert answers[0] == 0
        assert [type(a) for a in answers[1:]] == [RequestCancelledError] * 3
        assert (counts.ok, counts.cancelled) == (1, 3)

    def test_every_ended_request_has_an_error_of_its_own(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0)
        requests = virtual.submit(*range(50))
        virtual.stop(drain=False)
        errors = [r.value for r in requests if r.status == "cancelled"]
        assert len(errors) > 40
        assert len(set(map(id, errors))) == len(errors)

    def test_a_second_stop_may_cut_the_drain_of_the_first_short(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0)
        requests = virtual.submit(*range(100))

        def cut():
            virtual.sleep(0.012)
            virtual.batcher.stop(drain=False)

        thread = virtual.clock.spawn(cut, name="cut", role="client")
        counts = virtual.stop()
        virtual.clock.join(thread)
        assert (counts.ok, counts.cancelled) == (3, 97)
        assert all(r.done() for r in requests)

    def test_nothing_is_kept_of_what_has_ended(self):
        virtual = Virtual(max_batch_size=4, deadline_ms=1e6)
        for i in range(40):
            virtual.submit(i, i, priority=i)
            virtual.sleep(0.003)
        core = virtual.batcher._core
        virtual.sleep(10.0)
        virtual.submit(1)  # the next look finds them empty
        virtual.sleep(1.0)
        assert len(core.waiting.lanes) <= 2
        virtual.stop()
        assert core.waiting.lanes == [core.waiting.default_lane]
        assert not core.waiting._delayed
        assert not core.waiting.default_lane._deadlines

    def test_it_returns_once_its_threads_have_ended(self):
        class Noting(VirtualClock):
            joined = ()

            def join(self, thread):
                super().join(thread)
                self.joined += (thread.name,)

        clock = Noting()
        faults = FaultTolerance(execute_timeout_ms=1000)
        virtual = Virtual(clock=clock, replicas=2, faults=faults)
        virtual.submit(1)
        virtual.stop()
        assert clock.joined == ("dynbatch-worker-0", "dynbatch-worker-1", "dynbatch-watchdog")

    def test_its_threads_keep_nothing_of_it(self):
        virtual = Virtual(faults=FaultTolerance(execute_timeout_ms=1000))
        virtual.submit(1)
        virtual.stop()
        core = weakref.ref(virtual.batcher._core)
        del virtual
        gc.collect()
        assert core() is None

    def test_a_context_manager_that_is_cancelled_while_it_starts_leaves_no_thread(self):
        loading, go = threading.Event(), threading.Event()
        before = set(threading.enumerate())

        class Slow(AffineModel):
            def prepare(self, placement):
                loading.set()
                go.wait(SECONDS)

        batcher = DynamicBatcher(Slow(0.0, 0.0, VirtualClock()), warm_up_budget_s=0)

        async def main():
            async def serve():
                async with batcher:
                    pytest.fail("it must not get here")

            task = asyncio.create_task(serve())
            await asyncio.to_thread(loading.wait, SECONDS)
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            go.set()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(batcher.stop)
            assert task.cancelled()

        asyncio.run(main())
        assert not [t for t in threading.enumerate() if t not in before and "dynbatch" in t.name]
        with pytest.raises(BatcherClosedError):
            batcher.submit(1)


def in_callback(batcher, act):
    """What `act` raised when a done-callback called it in a worker thread."""
    seen, called = [], threading.Event()

    def callback(_):
        try:
            act()
        except WrongThreadError as error:
            seen.append(error)
        called.set()

    batcher.start()
    request = batcher.submit(1)
    request.add_done_callback(callback)
    assert called.wait(SECONDS)
    batcher.stop()
    return seen


class TestSwitching:
    def test_threads_are_switched_as_often_as_any_batcher_asks_until_the_last_has_stopped(
        self, monkeypatch
    ):
        monkeypatch.setattr("batching.workers.switching._users", 0)  # of other tests' batchers
        there_s, before_s = sys.getswitchinterval(), 0.004
        sys.setswitchinterval(before_s)
        often, seldom, never = (quick_switching(s) for s in (0.0005, 0.001, None))
        for batcher, expected_s in ((never, before_s), (seldom, 0.001), (often, 0.0005)):
            batcher.__enter__()
            assert sys.getswitchinterval() == pytest.approx(expected_s)
        again = quick_switching(0.001)
        again.__enter__()
        for batcher, expected_s in (
            (again, 0.0005), (seldom, 0.0005), (never, 0.0005), (often, before_s)
        ):  # fmt: skip
            batcher.__exit__(None, None, None)
            assert sys.getswitchinterval() == pytest.approx(expected_s)
        sys.setswitchinterval(there_s)


class TestWrongThread:
    def test_stop_in_a_callback_is_refused_and_nothing_hangs(self):
        batcher = DynamicBatcher(lambda xs: xs, batch_timeout_ms=20)
        [error] = in_callback(batcher, batcher.stop)
        assert isinstance(error, WrongThreadError)
        assert "stop must be called from a thread of the caller's own" in str(error)

    @pytest.mark.parametrize("where", ["observer", "model", "retry_on"])
    def test_stop_is_refused_wherever_the_batcher_calls_back(self, where):
        errors = []

        def stop(*_):
            try:
                batcher.stop()
            except WrongThreadError as error:
                errors.append(error)
            return False

        def model(xs):
            if where == "model":
                stop()
            if where == "retry_on":
                raise ValueError("once")
            return list(xs)

        batcher = DynamicBatcher(
            model,
            max_batch_size=1,
            observer=stop if where == "observer" else None,
            faults=FaultTolerance(max_retries=1, retry_on=stop if where == "retry_on" else ()),
            warm_up_budget_s=0,
        )
        with batcher:
            request = batcher.submit(1)
            if where == "retry_on":
                with pytest.raises(BatchExecutionError):
                    request.result(SECONDS)
            else:
                assert request.result(SECONDS) == 1
        assert errors

    def test_stop_in_a_callback_of_the_watchdog_is_refused_too(self):
        virtual = Virtual(
            lambda payloads: virtual.sleep(1e3),
            batch_timeout_ms=0,
            faults=FaultTolerance(execute_timeout_ms=100),
        )
        errors = []

        def stop(_):
            try:
                virtual.batcher.stop()
            except WrongThreadError as error:
                errors.append(error)

        [request] = virtual.submit(1)
        request.add_done_callback(stop)
        virtual.sleep(0.5)
        virtual.stop()
        assert len(errors) == 1

    def test_a_model_that_waits_for_its_own_batcher_fails_and_is_told_why(self):
        def model(xs):
            return [batcher.submit(x).result() for x in xs]

        batcher = DynamicBatcher(model, max_batch_size=1, warm_up_budget_s=0)
        with batcher:
            with pytest.raises(BatchExecutionError, match="own batcher") as caught:
                batcher.submit(1).result(SECONDS)
            assert isinstance(caught.value.__cause__, WrongThreadError)
            batcher.stop(drain=False)  # each try has left one behind

    def test_a_model_that_awaits_its_own_batcher_fails_and_is_told_why(self):
        def model(xs):
            return [asyncio.run(batcher.add_request(x)) for x in xs]

        with DynamicBatcher(model, max_batch_size=1, warm_up_budget_s=0) as batcher:
            with pytest.raises(BatchExecutionError, match="own threads"):
                batcher.submit(1).result(SECONDS)
            assert batcher.statistics().submitted == 1

    def test_a_model_may_wait_for_another_batcher(self):
        second = DynamicBatcher(lambda xs: [x + 1 for x in xs], warm_up_budget_s=0)
        first = DynamicBatcher(
            lambda xs: [second.submit(x).result(SECONDS) for x in xs], warm_up_budget_s=0
        )
        with second, first:
            assert first.submit(1).result(SECONDS) == 2

    def test_a_callback_may_submit_and_cancel(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0)
        first, second, third = virtual.submit(1, 2, 3)
        more = []
        first.add_done_callback(lambda _: more.append(virtual.batcher.submit(4)))
        first.add_done_callback(lambda _: virtual.batcher.cancel(third))
        virtual.sleep(1.0)
        virtual.stop()
        assert [r.status for r in (second, third, *more)] == ["ok", "cancelled", "ok"]


FORKING = textwrap.dedent("""
    import asyncio, os, sys, threading
    from batching import BatcherClosedError, DynamicBatcher, RequestCancelledError

    go = threading.Event()
    batcher = DynamicBatcher(
        lambda xs: (go.wait(20), list(xs))[1], max_batch_size=1, batch_timeout_ms=0,
        warm_up_budget_s=0,
    )
    batcher.start()
    pending = [batcher.submit(i) for i in range(3)]
    child = os.fork()
    if child == 0:
        problems = []
        for name, act, wanted in [
            ("submit", lambda: batcher.submit(1), BatcherClosedError),
            ("with a deadline", lambda: batcher.submit(1, deadline_ms=50), BatcherClosedError),
            ("add_request", lambda: asyncio.run(batcher.add_request(1)), BatcherClosedError),
            ("in hand", lambda: pending[0].result(5), RequestCancelledError),
            ("waiting", lambda: pending[2].result(5), RequestCancelledError),
        ]:
            try:
                act()
                problems.append(name + ": nothing raised")
            except wanted as error:
                if "forked" not in str(error):
                    problems.append(name + ": " + str(error))
        batcher.stop()
        if batcher.ready or batcher.statistics().queue_depth:
            problems.append("it still seems to serve")
        with DynamicBatcher(lambda xs: list(xs), warm_up_budget_s=0) as own:
            if own.submit(7).result(5) != 7:
                problems.append("a batcher of the child's own does not serve")
        sys.stdout.write("; ".join(problems) or "refused at once")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    go.set()
    assert [r.result(20) for r in pending] == [0, 1, 2]
    batcher.stop()
""")


FORKING_MODEL = textwrap.dedent("""
    import os
    from batching import DynamicBatcher

    def fork(xs):
        child = os.fork()
        if child == 0:
            try:
                batcher.stop()
            except BaseException as error:
                print(repr(error), flush=True)
            else:
                print("refused at once", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        return xs

    batcher = DynamicBatcher(fork, warm_up_budget_s=0, batch_timeout_ms=0)
    with batcher:
        batcher.submit(1).result(20)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(FORKING, id="by a caller"),
        pytest.param(FORKING_MODEL, id="by the model, whose thread is no worker's there"),
    ],
)
def test_a_child_forked_from_a_serving_process_is_told_at_once(script):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "refused at once"


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_batch_size": 2.0}, "max_batch_size must be an integer, but got 2.0"),
            ({"max_batch_size": "8"}, "max_batch_size must be an integer, but got '8'"),
            ({"max_batch_size": True}, "max_batch_size must be an integer, but got True"),
            ({"preferred_batch_sizes": [4.0]}, "preferred_batch_sizes must be an integer"),
            ({"max_queue_size": 10.0}, "max_queue_size must be an integer, but got 10.0"),
            ({"replicas": 1.0}, "replicas must be an integer, but got 1.0"),
            ({"in_flight": 2.0}, "in_flight must be an integer, but got 2.0"),
            ({"batch_timeout_ms": "5"}, "batch_timeout_ms must be >= 0, but got '5'"),
            ({"slo_ms": "fast"}, "slo_ms must be > 0, but got 'fast'"),
        ],
    )
    def test_what_is_no_number_of_its_kind_is_refused(self, options, message):
        with pytest.raises(ConfigError) as caught:
            DynamicBatcher(lambda xs: xs, **options)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_retries": 1.5}, "max_retries must be an integer, but got 1.5"),
            ({"retry_on": ("ValueError",)}, "retry_on must be types of errors"),
            ({"retry_on": 3}, "retry_on must be types of errors"),
        ],
    )
    def test_fault_options_too(self, options, message):
        with pytest.raises(ConfigError) as caught:
            FaultTolerance(**options)
        assert message in str(caught.value)

    def test_one_type_of_error_need_not_be_in_a_tuple(self):
        faults = FaultTolerance(retry_on=ConnectionError)
        assert faults.is_transient(ConnectionResetError())
        assert not faults.is_transient(ValueError())

    @pytest.mark.parametrize("priority", [1.5, "high", float("nan")])
    def test_a_priority_that_is_no_integer_is_refused_and_harms_nobody(self, priority):
        virtual = Virtual()
        with pytest.raises(ConfigError, match="priority must be an integer"):
            virtual.batcher.submit(1, priority=priority)
        [request] = virtual.submit(2)
        assert virtual.stop().submitted == 1
        assert request.result() == 4

    @pytest.mark.parametrize("timeout_s", [float("inf"), 1e12])
    def test_a_result_may_be_waited_for_without_limit(self, timeout_s):
        with DynamicBatcher(list, batch_timeout_ms=5) as batcher:
            assert batcher.submit(1).result(timeout_s) == 1
