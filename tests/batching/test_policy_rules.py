"""Policies decide as their documentation says, on thousands of questions at whole ticks.

A tick is 1/64 s, which sums and differences of are exact: so many questions are asked at the very
instant at which an answer changes.
"""

import random
from dataclasses import dataclass, field
from math import inf

import pytest

from batching.policies import (
    AdaptivePolicy,
    DeadlinePolicy,
    Dispatch,
    FinishedBatch,
    Lane,
    PolicyOptions,
    Shed,
    TimeoutPolicy,
    Wait,
    Waiting,
    WindowPolicy,
)

TICK_S = 1 / 64
SLO_S = 80 * TICK_S  # of which a twentieth, 4 ticks, is kept back
KEPT_S = 4 * TICK_S
QUESTIONS = 3000


def questions(seed, most_lanes=3):
    """Moments and what waits at them; requests are up to 90 ticks old."""
    rng = random.Random(seed)  # noqa: S311 - questions are drawn, no secret
    for _ in range(QUESTIONS):
        now = rng.randrange(1000, 1010)
        lanes = []
        for _ in range(rng.randint(1, most_lanes)):
            count, oldest = rng.choice([1, 1, 2, 3, 5, 7, 8, 9, 20]), now - rng.randrange(90)
            deadline = rng.choice([inf, inf, (oldest + rng.randrange(100)) * TICK_S])
            lanes.append(Lane(count, count, oldest * TICK_S, deadline, rng.choice([0, 0, 1])))
        yield (
            now * TICK_S,
            Waiting(
                lanes,
                (now - rng.randrange(90)) * TICK_S,
                0,
                rng.choice(["now", "now", "ahead"]),
                rng.random() < 0.15,
            ),
        )


def by_timeout(now_s, waiting, limit, timeout_s, *, min_wait_s=0.0, preferred=()):
    ready, untils, weights = [], [], []
    for i, lane in enumerate(waiting.lanes):
        reached = [size for size in preferred if size <= lane.count]
        if lane.count >= limit:
            ready.append((-lane.priority, 0, lane.oldest_s, i, limit, "full"))
        elif waiting.slot == "ahead":
            pass
        elif waiting.draining:
            ready.append((-lane.priority, 1, lane.oldest_s, i, lane.count, "drain"))
        elif reached and now_s >= lane.oldest_s + min_wait_s:
            ready.append((-lane.priority, 1, lane.oldest_s, i, max(reached), "preferred"))
        elif now_s >= lane.oldest_s + timeout_s:
            ready.append((-lane.priority, 1, lane.oldest_s, i, lane.count, "timeout"))
        else:
            untils.append(lane.oldest_s + (min_wait_s if reached else timeout_s))
            weights.append(limit if reached or not preferred else min(preferred[0], limit))
    if ready:
        *_, index, count, reason = min(ready)
        return Dispatch(index, count, reason)
    if waiting.slot == "ahead":
        return Wait(inf, limit)
    heaviest = max(lane.count for lane in waiting.lanes)
    return Wait(min(untils), min(weight for weight in weights if weight > heaviest))


@pytest.mark.parametrize(
    ("min_wait", "preferred"), [(0, ()), (0, (2, 5)), (6, (3,)), (12, (1, 7)), (3, (8,))]
)
def test_timeout(min_wait, preferred):
    policy = TimeoutPolicy(PolicyOptions(8, 12 * TICK_S, min_wait * TICK_S, preferred))
    for now_s, waiting in questions(seed=min_wait):
        wanted = by_timeout(
            now_s, waiting, 8, 12 * TICK_S, min_wait_s=min_wait * TICK_S, preferred=preferred
        )
        assert policy.decide(now_s, waiting) == wanted, (now_s, waiting)


def test_window():
    policy = WindowPolicy(PolicyOptions(8, 12 * TICK_S))
    for now_s, waiting in questions(seed=1):
        lane = min(
            range(len(waiting.lanes)),
            key=lambda i: (-waiting.lanes[i].priority, waiting.lanes[i].oldest_s),
        )
        head = waiting.lanes[lane]
        ends_s = max(waiting.free_since_s, head.oldest_s) + 12 * TICK_S
        if waiting.slot == "ahead":
            wanted = Wait(inf)
        elif waiting.draining or now_s >= ends_s:
            reason = "drain" if waiting.draining else "window"
            wanted = Dispatch(lane, min(head.count, 8), reason)
        else:
            wanted = Wait(ends_s)
        assert policy.decide(now_s, waiting) == wanted, (now_s, waiting)


def test_adaptive_moves_its_limit_and_decides_as_timeout_does_under_it():
    rng = random.Random(2)  # noqa: S311 - batches are drawn, no secret
    # Of an SLO of 64 ticks 48 are for execution, and 16 are left to hold a request.
    policy = AdaptivePolicy(PolicyOptions(32, 1.0, 1.0, (4,), slo_s=64 * TICK_S))
    limit, now = 1.0, 0
    for number, (now_s, waiting) in enumerate(questions(seed=3)):
        waited, took = rng.choice([0, 47, 48, 49]), rng.choice([10, 47, 48, 49, 49])
        size, ok = rng.choice([int(limit), int(limit) + 3, 1, 32]), rng.random() < 0.9
        oldest, taken = now, now + waited
        now = taken + took
        times_s = (TICK_S * at for at in (oldest, taken, now))
        policy.observe(FinishedBatch(0, size, size, *times_s, ok=ok))
        if ok and took > 48 and waited <= 48:
            limit = max(1.0, limit * 0.9)
        elif ok and size >= int(limit):
            limit = min(32.0, max(limit + 1, size))
        assert policy.limit == int(limit), number
        wanted = by_timeout(
            now_s, waiting, int(limit), 16 * TICK_S, min_wait_s=16 * TICK_S, preferred=(4,)
        )
        assert policy.decide(now_s, waiting) == wanted, (now_s, waiting)


@dataclass
class Known:
    """Times of batches of 0, 1, 2 ... requests, as if learned."""

    q90_s: list = field(default_factory=lambda: [TICK_S * (4 + 2 * n) for n in range(17)])
    q99_s: list = field(default_factory=lambda: [TICK_S * (7 + 3 * n) for n in range(17)])

    def observe(self, batch):
        return True


def by_deadline(now_s, waiting, limit):
    known, counts = Known(), []
    for i, lane in enumerate(waiting.lanes):
        count = min(lane.count, limit)
        due_s = lane.oldest_s + SLO_S
        if lane.count == 1:
            due_s = min(due_s, lane.earliest_deadline_s)
        if waiting.slot == "ahead" and count < limit:
            pass  # it may grow yet
        elif now_s + known.q90_s[count] > due_s:
            came_to_a_busy_worker = lane.oldest_s < waiting.free_since_s
            if waiting.slot == "ahead" or came_to_a_busy_worker:
                return Shed(i, 1)
            in_time = [n for n in range(1, count) if now_s + known.q90_s[n] <= due_s]
            if not in_time:
                # Those before it that are lost go first.
                return Shed(i, 1)
            count = max(in_time)
        counts.append(count)
    awaited = 1
    while awaited <= max(counts):
        awaited *= 2
    awaited = min(awaited, limit)
    starts_s = [
        min(lane.oldest_s + SLO_S, lane.earliest_deadline_s) - KEPT_S - known.q99_s[awaited]
        for lane in waiting.lanes
    ]
    # Backwards from the last: each ends before the next has to start.
    first, start_s = starts_s.index(min(starts_s)), inf
    for latest_s in sorted(starts_s, reverse=True):
        start_s = min(latest_s, start_s - known.q99_s[awaited])
    starts_s[first] = start_s
    ready = []
    for i, (lane, count) in enumerate(zip(waiting.lanes, counts, strict=True)):
        overdue = waiting.draining or now_s >= starts_s[i]
        if count == limit or (waiting.slot == "now" and overdue):
            ready.append((-lane.priority, starts_s[i], i))
    if ready:
        index = min(ready)[-1]
        reason = "drain" if waiting.draining else "deadline"
        return Dispatch(index, counts[index], "full" if counts[index] == limit else reason)
    return Wait(min(starts_s), awaited) if waiting.slot == "now" else Wait(inf, limit)


@pytest.mark.parametrize("most", [8, 16])
def test_deadline(most):
    policy = DeadlinePolicy(PolicyOptions(most, 12 * TICK_S, slo_s=SLO_S))
    policy._times = Known()
    policy.observe(FinishedBatch(0, 1, 1, 0.0, 0.0, 1.0, ok=True))
    seen = set()
    for now_s, waiting in questions(seed=most):
        wanted = by_deadline(now_s, waiting, policy.limit)
        assert policy.decide(now_s, waiting) == wanted, (now_s, waiting)
        seen.add((type(wanted), getattr(wanted, "reason", "")))
    assert seen == {(Wait, ""), (Shed, ""), *((Dispatch, r) for r in ("full", "drain", "deadline"))}


@pytest.mark.parametrize(
    ("slo", "limit"),
    [
        # A batch of n takes 4 + 2 n ticks, nine times of ten; 0.95 of the SLO is for it.
        pytest.param(40, 16, id="36 ticks of 38"),
        pytest.param(20, 7, id="18 ticks of 19, and 20 for one more"),
        pytest.param(20 / 0.95, 8, id="20 ticks of 20"),
        pytest.param(6.2, 16, id="none is in time, so that nothing is limited"),
    ],
)
def test_a_deadline_s_limit_is_the_largest_batch_in_time(slo, limit):
    policy = DeadlinePolicy(PolicyOptions(16, 12 * TICK_S, slo_s=slo * TICK_S))
    policy._times = Known()
    policy.observe(FinishedBatch(0, 1, 1, 0.0, 0.0, 1.0, ok=True))
    assert policy.limit == limit
