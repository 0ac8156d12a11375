"""Lanes: none is starved, none is kept for nothing, and the more urgent is looked at first."""

from math import inf

import pytest

from batching import DynamicBatcher, FaultTolerance, VirtualClock
from batching.policies import POLICIES, Dispatch, PolicyOptions, Shed, Wait, make_policy
from batching.queueing.lanes import LaneQueue
from batching.request import Request
from tests.soak.virtual import Model, Virtual

STARVATION_S = 0.2
BATCH_S = 0.005


class ByKind(Model):
    """Payloads are (kind, number): only those of one kind share a batch."""

    def lane_key(self, payload):
        return payload[0]

    def run(self, inputs):
        super().run([x for _, x in inputs])
        self.batches[-1] = list(inputs)
        return [x for _, x in inputs]


def by_kind(clock, **options):
    model = ByKind(clock)
    options = {"batch_timeout_ms": 1.0, "warm_up_budget_s": 0, "clock": clock} | options
    return DynamicBatcher(model, **options), model


class TestStarvation:
    @pytest.mark.parametrize("policy", sorted(POLICIES))
    @pytest.mark.parametrize("in_flight", [1, 2])
    @pytest.mark.parametrize("rare", ["of low priority", "of another shape", "slow to fill"])
    def test_nobody_is_passed_over_for_longer_than_allowed(self, policy, in_flight, rare):
        """Beside a lane that is full at all times, whatever makes the policy prefer that."""
        clock = VirtualClock()
        low = rare == "of low priority"
        batcher, _ = by_kind(
            clock,
            policy=policy,
            max_batch_size=4,
            # A hold of its own that is longer than a request may be passed over; `window` holds
            # all lanes at once, and so passes nobody over.
            batch_timeout_ms=1000.0 if rare == "slow to fill" and policy != "window" else 1.0,
            slo_ms=5000.0,
            in_flight=in_flight,
            max_starvation_ms=STARVATION_S * 1e3,
        )
        batcher.start()

        def feed(until_s):
            number = 0
            while clock.now() < until_s:
                while batcher.statistics().queue_depth < 40:
                    batcher.submit(("common", number), priority=int(low))
                    number += 1
                clock.sleep_until(clock.now() + 0.001)

        feed(clock.now() + 0.1)
        request = batcher.submit(("common" if low else "rare", -1))
        feed(clock.now() + 3 * STARVATION_S)
        assert request.status == "ok"
        waited_s = request.batch.taken_s - request.enqueued_s
        # The batch in hand, and with two in flight the one that was taken ahead of it.
        assert waited_s <= STARVATION_S + (in_flight + 1) * BATCH_S
        batcher.stop(drain=False)

    def test_the_lane_that_starves_longest_goes_first_and_others_follow(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0, max_starvation_ms=20)
        virtual.submit("busy", priority=9)
        virtual.sleep(0.001)
        lows = []
        for priority in (2, 0, 1):
            lows += virtual.submit(f"low {priority}", priority=priority)
            virtual.sleep(0.0001)
        for _ in range(12):
            virtual.submit("high", priority=9)
            virtual.sleep(BATCH_S)
        virtual.stop()
        order = [batch[0] for batch in virtual.model.batches]
        places = [order.index(f"low {p}") for p in (2, 0, 1)]
        assert places == [5, 6, 7]
        assert all(low.status == "ok" for low in lows)

    def test_it_is_the_very_instant_that_counts(self):
        virtual = Virtual(max_batch_size=1, batch_timeout_ms=0, max_starvation_ms=15)
        virtual.submit("busy", priority=1)
        [low] = virtual.submit("low")
        virtual.submit(*["high"] * 6, priority=1)
        virtual.stop()
        # After three batches of 5 ms it has waited 15 ms, no less.
        assert low.batch.taken_s - low.enqueued_s == pytest.approx(0.015)
        assert virtual.model.batches[3] == ["low"]

    def test_while_a_starving_lane_is_not_full_nothing_goes_ahead_of_it(self):
        clock = VirtualClock()
        batcher, _ = by_kind(clock, max_batch_size=2, in_flight=2, max_starvation_ms=10)
        batcher.start()
        requests = [batcher.submit(("common", i)) for i in range(2)]
        rare = batcher.submit(("rare", 0))
        requests += [batcher.submit(("common", i)) for i in range(2, 12)]
        clock.sleep_until(clock.now() + 1.0)
        batcher.stop()
        record = rare.batch
        assert record.size == 1
        # Taken once the worker held nothing else, not behind a running batch.
        assert record.free_since_s == record.taken_s
        assert all(r.status == "ok" for r in requests)

    def test_the_policy_says_how_many_of_a_starving_lane_go(self):
        clock = VirtualClock()
        policy = make_policy(
            "adaptive", PolicyOptions(8, 0.001, slo_s=0.1)
        )  # its limit starts at 1
        batcher, model = by_kind(clock, policy=policy, max_batch_size=8, max_starvation_ms=1)
        batcher.start()
        for i in range(4):
            batcher.submit(("common", i), priority=1)
        batcher.submit(("rare", 0))
        batcher.submit(("rare", 1))
        batcher.stop()
        assert all(len(batch) <= 3 for batch in model.batches)
        assert [x for batch in model.batches for x in batch if x[0] == "rare"] == [
            ("rare", 0),
            ("rare", 1),
        ]

    def test_a_hold_that_the_policy_wants_is_kept_while_nothing_else_runs(self):
        virtual = Virtual(batch_timeout_ms=50, max_starvation_ms=5)
        [first] = virtual.submit("a", priority=1)
        virtual.sleep(0.001)
        virtual.submit("b")
        virtual.sleep(0.2)
        virtual.stop()
        assert first.batch.taken_s - first.enqueued_s == pytest.approx(0.05)


class TestComingAndGoing:
    def test_lanes_go_when_they_are_empty_however_many_there_were(self):
        virtual = Virtual(max_batch_size=8, batch_timeout_ms=0)
        for priority in range(500):
            virtual.submit(1, priority=priority)
            virtual.sleep(0.006)
        virtual.submit(1)
        virtual.sleep(1.0)
        assert len(virtual.batcher._core.waiting.lanes) <= 2
        virtual.stop()

    def test_lanes_of_shapes_too(self):
        clock = VirtualClock()
        batcher, _ = by_kind(clock)
        batcher.start()
        for shape in range(500):
            batcher.submit((shape, 0), deadline_ms=1e6)
            clock.sleep_until(clock.now() + 0.02)
        assert len(batcher._core.waiting.lanes) <= 3
        batcher.stop()
        assert batcher.statistics().ok == 500

    def test_lanes_go_with_the_last_replica(self):
        class Undecided:
            def decide(self, now_s, waiting):
                raise RuntimeError("undecided")

        virtual = Virtual(policy=Undecided(), max_batch_size=8)
        requests = [virtual.submit(1, priority=priority)[0] for priority in range(20)]
        virtual.sleep(1.0)
        assert {request.status for request in requests} == {"failed"}
        assert len(virtual.batcher._core.waiting.lanes) == 1
        virtual.stop()

    def test_a_retry_finds_its_lane_though_that_had_gone(self):
        outage = iter([True])

        def misbehave(payloads):
            if "urgent" in payloads and next(outage, False):
                raise ConnectionError("away")

        faults = FaultTolerance(max_retries=1, retry_on=ConnectionError, retry_backoff_ms=100)
        virtual = Virtual(misbehave, max_batch_size=1, batch_timeout_ms=0, faults=faults)
        [urgent] = virtual.submit("urgent", priority=3)
        virtual.sleep(0.02)
        virtual.submit("plain")
        virtual.sleep(0.02)
        assert len(virtual.batcher._core.waiting.lanes) == 1
        virtual.submit(*["plain"] * 30)
        virtual.stop()
        assert urgent.result() == "urgenturgent"
        assert urgent.batch.taken_s - urgent.first_failed_s <= 0.1 + BATCH_S

    def test_a_deadline_goes_on_counting_while_a_request_waits_for_its_retry(self):
        faults = FaultTolerance(max_retries=1, retry_on=ConnectionError, retry_backoff_ms=1000)

        def misbehave(payloads):
            if "bad" in payloads:
                raise ConnectionError("away")

        virtual = Virtual(
            misbehave, max_batch_size=1, batch_timeout_ms=0, faults=faults, replicas=2
        )
        [request] = virtual.submit("bad", deadline_ms=50)
        virtual.sleep(0.002)
        virtual.submit("other", deadline_ms=50)  # another worker looks at the deadlines meanwhile
        virtual.sleep(0.2)
        assert request.status == "expired"
        assert request.ended_s - request.enqueued_s == pytest.approx(0.05)
        virtual.stop()

    def test_deadlines_of_requests_that_were_answered_are_not_kept(self):
        virtual = Virtual(max_batch_size=8, batch_timeout_ms=0)
        virtual.submit("waits", deadline_ms=1.0)
        for _ in range(300):
            virtual.submit(*range(8), deadline_ms=3_600_000.0)
            virtual.sleep(0.006)
        assert len(virtual.batcher._core.waiting.default_lane._deadlines) < 200
        virtual.stop()


class Urgent:
    """Takes what has a priority at once and holds everything else."""

    def __init__(self):
        self.asked = 0

    def decide(self, now_s, waiting):
        self.asked += 1
        for i, lane in enumerate(waiting.lanes):
            if lane.priority > 0 or waiting.draining:
                return Dispatch(i, lane.count, "urgent")
        return Wait(inf)

    def observe(self, batch):
        pass


class TestWaking:
    def test_an_urgent_arrival_changes_the_answer_at_once(self):
        virtual = Virtual(policy=Urgent(), max_starvation_ms=1e6)
        virtual.submit("low")
        virtual.sleep(0.03)
        [urgent] = virtual.submit("high", priority=1)
        virtual.sleep(0.03)
        assert urgent.status == "ok"
        assert urgent.batch.taken_s == urgent.enqueued_s
        virtual.stop()

    def test_so_does_one_in_a_lane_that_a_cancelled_request_had_left(self):
        virtual = Virtual(policy=Urgent(), max_starvation_ms=1e6)
        virtual.submit("low")
        virtual.sleep(0.01)
        [gone] = virtual.submit("gone", priority=1)
        virtual.batcher.cancel(gone)
        virtual.sleep(0.01)
        [urgent] = virtual.submit("high", priority=1)
        virtual.sleep(0.01)
        assert urgent.batch.taken_s == urgent.enqueued_s
        virtual.stop()

    def test_a_lane_is_not_asked_about_once_an_arrival(self):
        policy = Urgent()
        virtual = Virtual(policy=policy, max_starvation_ms=1e6)
        for _ in range(50):
            virtual.submit("low")
            virtual.sleep(0.001)
        assert policy.asked == 1
        virtual.stop()


class Shedding:
    """Sheds the two oldest once five wait, then takes the rest."""

    def decide(self, now_s, waiting):
        lane = waiting.lanes[0]
        if lane.count >= 5:
            return Shed(0, 2)
        return Dispatch(0, lane.count, "rest") if waiting.draining else Wait(inf, 5)

    def observe(self, batch):
        pass


class TestShedding:
    def test_those_that_were_cancelled_among_them_do_not_count(self):
        virtual = Virtual(policy=Shedding(), max_batch_size=8)
        requests = virtual.submit(0, 1, 2, 3)
        virtual.sleep(0.001)
        virtual.batcher.cancel(requests[1])
        requests += virtual.submit(4, 5)
        virtual.sleep(0.001)
        assert [r.status for r in requests] == [
            "expired", "cancelled", "expired", "pending", "pending", "pending",
        ]  # fmt: skip
        counts = virtual.stop()
        assert (counts.expired, counts.cancelled, counts.ok) == (2, 1, 3)
        assert len({id(requests[i].value) for i in (0, 2)}) == 2

    def test_shedding_nothing_is_an_error_and_no_endless_loop(self):
        class Idle(Shedding):
            def decide(self, now_s, waiting):
                return Shed(0, 0)

        virtual = Virtual(policy=Idle())
        [request] = virtual.submit(1)
        virtual.sleep(1.0)
        assert request.status == "failed"
        virtual.stop()


class TestLaneQueue:
    def test_no_more_are_taken_than_wait(self):
        lane = LaneQueue()
        for i in range(3):
            lane.append(Request(i, 0.0))
        assert [r.payload for r in lane.take(5)] == [0, 1, 2]
        assert not lane.take(1)
