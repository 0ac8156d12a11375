"""Virtual time: exact, ordered, and never asleep."""

import time

import pytest

from batching.virtual_clock import VirtualClock, VirtualDeadlockError


def test_sleeping_takes_virtual_time_only():
    clock = VirtualClock()
    began = time.perf_counter()
    clock.sleep_until(3600.0)
    assert clock.now() == 3600.0
    assert time.perf_counter() - began < 10


def test_a_time_that_has_passed_does_not_turn_the_clock_back():
    clock = VirtualClock(10.0)
    clock.sleep_until(5.0)
    assert clock.now() == 10.0


def test_at_one_instant_completions_go_before_arrivals_and_arrivals_before_decisions():
    clock = VirtualClock()
    seen = []

    def completion():
        clock.sleep_until(1.0)
        seen.append("completion")

    def decision(order):
        def run():
            clock.waiter(order).wait(1.0)
            seen.append(f"decision {order}")

        return run

    # Spawned in the least convenient order on purpose.
    threads = [clock.spawn(decision(i), name=f"decider-{i}") for i in (1, 0)]
    threads.append(clock.spawn(completion, name="worker"))
    clock.sleep_until(1.0)
    seen.append("arrival")
    for thread in threads:
        clock.join(thread)
    assert seen == ["completion", "arrival", "decision 0", "decision 1"]


def test_a_wake_is_delivered_after_the_arrivals_of_its_instant():
    clock = VirtualClock()
    waiter = clock.waiter()
    seen = []

    def sleeper():
        waiter.wait(None)
        seen.append(("woken", clock.now()))

    thread = clock.spawn(sleeper, name="sleeper")
    clock.sleep_until(2.0)
    waiter.wake()
    seen.append(("arrival", clock.now()))
    clock.sleep_until(2.0)  # a second arrival at the same instant does not let it in between
    seen.append(("arrival", clock.now()))
    clock.join(thread)
    assert seen == [("arrival", 2.0), ("arrival", 2.0), ("woken", 2.0)]


def test_a_wake_before_the_wait_is_not_lost():
    clock = VirtualClock()
    waiter = clock.waiter()
    waiter.wake()
    waiter.wait(100.0)
    assert clock.now() == 0.0


def test_waiting_for_a_wake_that_nobody_can_give_is_an_error_not_a_hang():
    clock = VirtualClock()
    with pytest.raises(VirtualDeadlockError):
        clock.waiter().wait(None)


def test_joining_a_thread_that_has_ended_returns_at_once():
    clock = VirtualClock()
    thread = clock.spawn(lambda: clock.sleep_until(1.0), name="short")
    clock.sleep_until(2.0)
    clock.join(thread)
    assert clock.now() == 2.0
