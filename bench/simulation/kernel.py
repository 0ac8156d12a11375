"""The rules of `bench.simulation.engine` as one compiled loop, for the policies that never learn.

Importing this imports numba and compiles, or reads what was compiled before: seconds, or a few
tenths of one. Nothing but sums, comparisons and maxima of the same numbers in the same order, so
that every time is the same to the last bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

TIMEOUT, WINDOW = 0, 1
FULL, DRAIN, PREFERRED, TIMED_OUT, WINDOW_OVER = range(5)
# Columns of what is kept of a batch, whole numbers and times.
WORKER, SIZE, FIRST, REASON = range(4)
OLDEST, TAKEN, STAGED, STARTED, COMPLETED, DELIVERED, FREED = range(7)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the function, and keep the outcome where there is a folder to keep it in."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written to
        return njit(nogil=True)(function)


@compiled
def _lead(idle: Any, held: Any, in_flight: int) -> int:
    """Of the idle slots one whose worker is wholly free, then the lowest; -1 if none is idle."""
    lead = -1
    for slot in range(len(idle)):
        if idle[slot]:
            if held[slot // in_flight] == 0 or in_flight == 1:
                return slot
            if lead < 0:
                lead = slot
    return lead


@compiled
def _timeout(now_s, oldest_s, count, ahead, draining, limit, timeout_s, min_wait_s, preferred):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """`TimeoutPolicy` with one lane: how many go and why, or until when and how many to wait."""
    if count >= limit:
        return limit, FULL, np.inf, np.inf
    if ahead:
        return 0, 0, np.inf, float(limit)
    if draining:
        return count, DRAIN, np.inf, np.inf
    below = 0
    while below < len(preferred) and preferred[below] <= count:
        below += 1
    if below and now_s >= oldest_s + min_wait_s:
        return preferred[below - 1], PREFERRED, np.inf, np.inf
    if now_s >= oldest_s + timeout_s:
        return count, TIMED_OUT, np.inf, np.inf
    if below:
        return 0, 0, oldest_s + min_wait_s, float(limit)
    weight = limit if len(preferred) == 0 else min(preferred[0], limit)
    return 0, 0, oldest_s + timeout_s, float(weight)


@compiled
def _window(now_s, oldest_s, count, ahead, draining, limit, window_s, free_since_s):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """`WindowPolicy` with one lane: as `_timeout`."""
    if ahead:
        return 0, 0, np.inf, np.inf
    if draining:
        return min(count, limit), DRAIN, np.inf, np.inf
    until_s = max(free_since_s, oldest_s) + window_s
    if now_s >= until_s:
        return min(count, limit), WINDOW_OVER, np.inf, np.inf
    return 0, 0, until_s, np.inf


@compiled
def serve(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0915, PLR0917 - a loop whose calls would be copies
    arrival_s,
    room,
    policy,
    limit,
    timeout_s,
    min_wait_s,
    preferred,
    replicas,
    in_flight,
    queue_limit,
    deadline_s,
    rows_first,
    rows_count,
    rows,
    ranks,
    wakes_s,
    timers_s,
    gaps_s,
):
    """Serve a trace to its last request; see `bench.simulation.engine`, whose words these are.

    `arrival_s` has one at least. `policy` is TIMEOUT or WINDOW, whose window is `timeout_s`;
    `queue_limit` -1 for none. There is `room` for so many batches, and ranges of each kind. A batch
    of `size` takes one of `rows_count[size]` rows of `rows` (collate, execute, deliver, seconds
    `[R, 3]`) from `rows_first[size]` on: the one at the next of `ranks`, a share of them. What the
    threads lose is in the last three; empty means nothing.

    Returns:
        How many arrivals were looked at before one of the series was too short, or the room for
        what is found, -1 if nothing was; whole numbers and times by batch; the number of batches;
        accepted indices; rejected and expired ranges, and when.
    """
    requests, slots = len(arrival_s), replicas * in_flight
    limited, expires = queue_limit >= 0, deadline_s != np.inf
    whole = np.empty((4, room), np.int64)
    times = np.empty((7, room), np.float64)
    rejected = np.empty((room if limited else 0, 2), np.int64)
    expired = np.empty((room if expires else 0, 2), np.int64)
    expired_s = np.empty((len(expired), 1), np.float64)
    batches = turned_away = gone = 0
    accepted = np.empty(requests if limited else 0, np.int64)
    waiting_s = np.empty(requests, np.float64) if limited else arrival_s
    held = np.zeros(replicas, np.int64)
    free_since_s, device_free_s = np.zeros(replicas), np.zeros(replicas)
    idle = np.ones(slots, np.bool_)
    freed_s = np.full(slots, np.inf)  # of the batch in a slot; infinite where there is none
    pending = np.empty(slots + 8, np.int64)
    asks = head = tail = following = 0
    rank = wake = timer = gap = 0
    lead, lead_ahead, due_s = 0, False, 0.0
    draining, last_s = False, arrival_s[requests - 1]
    nothing = (whole, times, 0, accepted, rejected, expired, expired_s)
    while True:
        ends_s = np.inf
        for slot in range(slots):
            ends_s = min(ends_s, freed_s[slot])
        now_s = min(ends_s, due_s)
        if not draining and last_s <= now_s:
            now_s, draining = last_s, True
            if lead >= 0:
                pending[asks] = lead
                asks += 1
        if now_s == np.inf:
            break
        if ends_s <= now_s:
            for slot in range(slots):
                if freed_s[slot] <= now_s:
                    freed_s[slot] = np.inf
                    worker = slot // in_flight
                    held[worker] -= 1
                    if held[worker] == 0:
                        free_since_s[worker] = now_s
                    idle[slot] = True
            chosen = _lead(idle, held, in_flight)
            ahead = in_flight > 1 and chosen >= 0 and held[chosen // in_flight] > 0
            if chosen != lead or ahead != lead_ahead:
                lead, lead_ahead, due_s = chosen, ahead, np.inf
                pending[asks] = lead  # there is one: something was freed
                asks += 1
        first = following
        while following < requests and arrival_s[following] <= now_s:
            following += 1
        if not limited:
            tail = following
        elif following > first:
            stop = min(following, first + max(0, queue_limit - (tail - head)))
            if stop < following:
                if turned_away == room:
                    return (following, *nothing)
                rejected[turned_away, 0], rejected[turned_away, 1] = stop, following
                turned_away += 1
            for request in range(first, stop):
                accepted[tail], waiting_s[tail] = request, arrival_s[request]
                tail += 1
        if due_s <= now_s and lead >= 0:
            pending[asks] = lead
            asks += 1
        while asks:
            least = 0
            for other in range(1, asks):
                if pending[other] < pending[least]:
                    least = other
            asking = pending[least]
            asks -= 1
            pending[least] = pending[asks]
            if asking != lead:
                continue  # woken for two reasons, and the first made it take a batch
            due_s = np.inf
            if expires:
                first = head
                while head < tail and waiting_s[head] + deadline_s <= now_s:
                    head += 1
                if head > first:
                    if gone == room:
                        return (following, *nothing)
                    expired[gone, 0], expired[gone, 1], expired_s[gone, 0] = first, head, now_s
                    gone += 1
            worker, count = asking // in_flight, tail - head
            size, reason, until_s, weight = 0, 0, np.inf, 1.0
            if count:
                oldest_s, ahead = waiting_s[head], held[worker] > 0
                if policy == TIMEOUT:
                    size, reason, until_s, weight = _timeout(
                        now_s, oldest_s, count, ahead, draining, limit, timeout_s, min_wait_s,
                        preferred,
                    )  # fmt: skip
                else:
                    size, reason, until_s, weight = _window(
                        now_s, oldest_s, count, ahead, draining, limit, timeout_s,
                        free_since_s[worker],
                    )  # fmt: skip
            if size == 0:
                if head < tail and waiting_s[head] + deadline_s < until_s:
                    until_s = waiting_s[head] + deadline_s
                if limited and weight > queue_limit:
                    weight = np.inf
                index = following + (weight - count) - 1.0
                arrives_s = arrival_s[int(index)] if index < requests else np.inf
                if arrives_s <= until_s:
                    due_s = arrives_s
                    if len(wakes_s):
                        if wake == len(wakes_s):
                            return (following, *nothing)
                        due_s += wakes_s[wake]
                        wake += 1
                else:
                    due_s = until_s
                    if len(timers_s):
                        if timer == len(timers_s):
                            return (following, *nothing)
                        due_s += timers_s[timer]
                        timer += 1
                continue
            row = rows_first[size]
            if len(ranks):
                if rank == len(ranks):
                    return (following, *nothing)
                row += int(ranks[rank] * rows_count[size])
                rank += 1
            lost_s = 0.0
            if len(gaps_s):
                if gap == len(gaps_s):
                    return (following, *nothing)
                lost_s = gaps_s[gap]
                gap += 1
            if batches == room:
                return (following, *nothing)
            staged_s = now_s + rows[row, 0]
            started_s = max(staged_s, device_free_s[worker])
            completed_s = started_s + rows[row, 1]
            device_free_s[worker] = completed_s
            delivered_s = completed_s + rows[row, 2]
            whole[WORKER, batches], whole[SIZE, batches] = worker, size
            whole[FIRST, batches], whole[REASON, batches] = head, reason
            times[OLDEST, batches], times[TAKEN, batches] = waiting_s[head], now_s
            times[STAGED, batches], times[STARTED, batches] = staged_s, started_s
            times[COMPLETED, batches], times[DELIVERED, batches] = completed_s, delivered_s
            times[FREED, batches] = freed_s[asking] = delivered_s + lost_s
            batches += 1
            head += size
            held[worker] += 1
            idle[asking] = False
            chosen = _lead(idle, held, in_flight)
            ahead = in_flight > 1 and chosen >= 0 and held[chosen // in_flight] > 0
            if chosen != lead or ahead != lead_ahead:
                lead, lead_ahead, due_s = chosen, ahead, np.inf
                if lead >= 0 and lead != asking:
                    pending[asks] = lead
                    asks += 1
    return (
        -1, whole, times, batches, accepted[:tail] if limited else accepted,
        rejected[:turned_away], expired[:gone], expired_s[:gone],
    )  # fmt: skip
