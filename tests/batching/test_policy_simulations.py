"""What the adaptive policies achieve over thousands of requests, on one worker in virtual time."""

from collections import deque
from dataclasses import dataclass, field
from math import inf, isfinite

import numpy as np
import pytest

from batching.policies import (
    Dispatch,
    FinishedBatch,
    Lane,
    PolicyOptions,
    Shed,
    Wait,
    Waiting,
    make_policy,
)

MS = 1e-3


@dataclass
class Played:
    """What came of it; latencies in the order of arrival, infinite where a request was shed."""

    latency_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    busy_s: float = 0.0
    questions: int = 0

    def within(self, slo_s):
        return np.mean([latency_s <= slo_s for latency_s in self.latency_s])

    @property
    def p99_s(self):
        return np.quantile(self.latency_s, 0.99, method="inverted_cdf")

    @property
    def answered(self):
        return [latency_s for latency_s in self.latency_s if isfinite(latency_s)]

    @property
    def device_s(self):
        """Device time per answered request."""
        return self.busy_s / len(self.answered)


class Line:
    """Requests by number, waiting in their lanes in the order in which they come."""

    def __init__(self, arrivals_s, lane_of):
        self.arrivals_s = arrivals_s
        self.lane_of = lane_of
        self.queues = {}
        self.come = 0

    def admit(self, until_s):
        while self.come < len(self.arrivals_s) and self.arrivals_s[self.come] <= until_s:
            self.queues.setdefault(self.lane_of(self.come), deque()).append(self.come)
            self.come += 1

    def waiting(self):
        """The lanes that are not empty: their queues, and what a policy sees of them."""
        queues = [queue for queue in self.queues.values() if queue]
        return queues, [Lane(len(q), len(q), self.arrivals_s[q[0]]) for q in queues]

    def next_to_reach(self, weight):
        """When some lane will weigh that much, going by the arrivals to come."""
        counts = {key: len(queue) for key, queue in self.queues.items()}
        for i in range(self.come, len(self.arrivals_s)):
            key = self.lane_of(i)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] >= weight:
                return self.arrivals_s[i]
        return inf


def play(policy, arrivals_s, service_s, lane_of=lambda i: 0, wake_up_s=0.0):
    """Serve the arrivals under the policy; `service_s(n, now_s)` is what a batch of n takes."""
    played = Played([inf] * len(arrivals_s))
    line = Line(arrivals_s, lane_of)
    now_s = free_since_s = 0.0
    while True:
        line.admit(now_s)
        queues, lanes = line.waiting()
        if not lanes:
            if line.come == len(arrivals_s):
                return played
            now_s = arrivals_s[line.come]
            continue
        decision = policy.decide(now_s, Waiting(lanes, free_since_s))
        played.questions += 1
        match decision:
            case Wait(until_s, until_weight):
                assert until_s > now_s
                now_s = min(until_s + wake_up_s, line.next_to_reach(until_weight))
            case Shed(lane, count):
                for _ in range(count):
                    queues[lane].popleft()
            case Dispatch(lane, count):
                taken_s = now_s
                now_s = free_since_s = taken_s + service_s(count, taken_s)
                for _ in range(count):
                    request = queues[lane].popleft()
                    played.latency_s[request] = now_s - arrivals_s[request]
                played.sizes.append(count)
                played.busy_s += now_s - taken_s
                oldest_s = lanes[lane].oldest_s
                policy.observe(FinishedBatch(0, count, count, oldest_s, taken_s, now_s, ok=True))
                played.limits.append(getattr(policy, "limit", 0))


def poisson(rate_rps, count, seed=1):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, count)).tolist()


def warmed_up(name, service_s, slo_s, most=32, timeout_s=10 * MS):
    """A policy that was told of each power of two, as a warm-up does."""
    policy = make_policy(name, PolicyOptions(most, timeout_s, slo_s=slo_s))
    began_s = -100.0
    for size in [1, most, *(2**i for i in range(1, most.bit_length()))]:
        ended_s = began_s + service_s(size, began_s)
        policy.observe(FinishedBatch(0, size, size, began_s, began_s, ended_s, ok=True))
        began_s = ended_s
    return policy


def gpu(n, _now_s=0.0):
    """5 + 0.1 n ms: what a batch of 32 takes, 8.2 ms, gives 3,900 requests/s at most."""
    return (5 + 0.1 * n) * MS


class TestAdaptive:
    def test_converges_to_the_largest_batch_within_its_slo_and_comes_back_after_a_slow_phase(self):
        # 5 + 0.5 n ms under an SLO of 40.4 ms: 50 requests run in the 30.3 ms meant for execution,
        # and 20 while everything takes twice as long. There is always just enough to fill a batch.
        def service_s(n, batch):
            return (5 + 0.5 * n) * MS * (2 if 300 <= batch < 600 else 1)

        policy = make_policy("adaptive", PolicyOptions(256, 0.0, slo_s=40.4 * MS))
        now_s, limits = 0.0, []
        for batch in range(900):
            waiting = Waiting([Lane(policy.limit, policy.limit, now_s)], now_s)
            size = policy.decide(now_s, waiting).count
            done_s = now_s + service_s(size, batch)
            policy.observe(FinishedBatch(0, size, size, now_s, now_s, done_s, ok=True))
            now_s = done_s
            limits.append(policy.limit)
        for settled, best in ((limits[200:300], 50), (limits[400:600], 20), (limits[800:], 50)):
            assert max(settled) == best + 1  # one step beyond, which is how it finds the edge
            assert min(settled) >= 0.9 * best - 1
            assert np.mean(settled) >= 0.93 * best

    def test_answers_in_time_what_one_large_batch_would_make_late(self):
        # Twenty at once, now and then. All together take 17 ms, ten and ten 9 ms each.
        def service_s(n, _now_s):
            return (1 + 0.8 * n) * MS

        arrivals_s = np.repeat(np.arange(1, 101) * 0.150, 20).tolist()
        slo_s = 12.2 * MS
        adaptive = play(warmed_up("adaptive", service_s, slo_s), arrivals_s, service_s)
        timeout = play(warmed_up("timeout", service_s, slo_s), arrivals_s, service_s)
        assert adaptive.within(slo_s) >= 0.45
        assert timeout.within(slo_s) == 0.0

    def test_a_backlog_does_not_drive_the_batches_down_to_one(self):
        # Half as much again as the device can do with its largest batches.
        policy = warmed_up("adaptive", gpu, slo_s=25 * MS)
        played = play(policy, poisson(1.5 * 3900, 6000), gpu)
        assert set(played.limits) == {32}
        assert np.mean(played.sizes) > 31

    def test_an_slo_too_tight_for_the_load_ends_in_larger_batches_not_in_an_endless_queue(self):
        # 9 ms: 6.75 to execute, which batches of 17 take, 2,500 requests/s; but 3,500 come.
        policy = warmed_up("adaptive", gpu, slo_s=9 * MS)
        played = play(policy, poisson(3500, 8000), gpu)
        assert max(played.latency_s[-4000:]) < 50 * MS

    def test_recovers_in_its_latencies_after_a_slow_phase(self):
        def slow_for_a_second(n, now_s):
            return gpu(n) * (3 if 1 <= now_s < 2 else 1)

        slo_s = 25 * MS
        policy = warmed_up("adaptive", slow_for_a_second, slo_s)
        played = play(policy, poisson(2000, 10_000), slow_for_a_second)
        assert played.within(slo_s) < 0.95
        assert max(played.latency_s[-4000:]) <= slo_s
        assert played.limits[-1] == 32


class TestDeadline:
    SLO_S = 25 * MS

    def play(self, name, rate_rps, service_s=gpu, timeout_s=10 * MS, slo_s=SLO_S, **more):
        policy = warmed_up(name, service_s, slo_s, timeout_s=timeout_s)
        return play(policy, poisson(rate_rps, 6000), service_s, **more)

    def test_meets_its_slo_where_a_long_timeout_does_not_and_costs_less_than_no_timeout(self):
        deadline = self.play("deadline", 1200)
        long = self.play("timeout", 1200, timeout_s=30 * MS)
        none = self.play("timeout", 1200, timeout_s=0.0)
        assert deadline.within(self.SLO_S) > 0.999
        assert long.within(self.SLO_S) < 0.9
        assert none.within(self.SLO_S) > 0.999
        assert deadline.device_s < 0.5 * none.device_s

    def test_asks_a_few_times_a_batch_and_not_once_an_arrival(self):
        played = self.play("deadline", 1200)
        assert np.mean(played.sizes) > 15
        assert played.questions < 4 * len(played.sizes)

    @pytest.mark.parametrize("overload", [1.2, 2.0, 5.0])
    def test_under_overload_it_sheds_and_answers_the_rest_in_time(self, overload):
        deadline = self.play("deadline", overload * 3900)
        timeout = self.play("timeout", overload * 3900)
        assert max(deadline.answered) <= self.SLO_S
        assert deadline.within(self.SLO_S) > 0.95 / overload  # nearly all that the device can do
        assert timeout.within(self.SLO_S) < 0.1

    def test_a_passing_overload_does_not_leave_it_shedding(self):
        # Twice what the device can do for half a second, then a third of it. A policy that saved
        # each head in a smaller batch would go on shedding five in six for ever.
        burst_s = poisson(2 * 3900, 3900)
        calm_s = (np.array(poisson(1200, 4000)) + burst_s[-1]).tolist()
        played = play(warmed_up("deadline", gpu, self.SLO_S), burst_s + calm_s, gpu)
        assert played.within(self.SLO_S) < 0.9
        assert max(played.latency_s[-3900:]) <= self.SLO_S

    def test_late_wake_ups_are_within_the_reserve(self):
        played = self.play("deadline", 1200, wake_up_s=1 * MS)
        assert played.within(self.SLO_S) > 0.999

    def test_meets_its_slo_where_execution_times_vary(self):
        draws = np.random.default_rng(5)
        played = self.play("deadline", 1200, lambda n, _: gpu(n) * draws.lognormal(0, 0.1))
        assert played.within(self.SLO_S) > 0.99

    def test_recovers_from_a_slow_phase_and_from_a_hiccup(self):
        def rough(n, now_s):
            return gpu(n) * (10 if 1 <= now_s < 1.5 else 1) + (0.2 if 3 <= now_s < 3.01 else 0)

        played = play(warmed_up("deadline", rough, self.SLO_S), poisson(1500, 10_000), rough)
        assert played.within(self.SLO_S) < 0.99
        assert played.limits[-1] == 32
        assert np.mean([x <= self.SLO_S for x in played.latency_s[-4000:]]) > 0.999

    def test_learns_from_its_own_batches_where_there_was_no_warm_up(self):
        policy = make_policy("deadline", PolicyOptions(32, 1 * MS, slo_s=self.SLO_S))
        played = play(policy, poisson(1200, 6000), gpu)
        assert played.within(self.SLO_S) > 0.999
        assert np.mean(played.sizes[-100:]) > 15

    def test_two_lanes_that_share_the_worker_both_keep_their_slo(self):
        played = self.play("deadline", 1200, lane_of=lambda i: i % 2)
        assert played.within(self.SLO_S) > 0.99
