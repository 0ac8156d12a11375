"""Real time, as far as it can be asserted without asserting a timing."""

import threading

from batching.clock import RealClock


def test_a_sleep_never_ends_early():
    clock = RealClock()
    for exact in (False, True):
        until_s = clock.now() + 0.002
        clock.sleep_until(until_s, exact=exact)
        assert clock.now() >= until_s


def test_a_wait_ends_at_its_time_without_a_wake():
    clock = RealClock()
    until_s = clock.now() + 0.002
    clock.waiter().wait(until_s)
    assert clock.now() >= until_s


def test_a_wake_before_the_wait_is_not_lost_and_a_second_one_adds_nothing():
    clock = RealClock()
    waiter = clock.waiter()
    waiter.wake()
    waiter.wake()
    waiter.wait(None)  # would hang if the wake were lost
    until_s = clock.now() + 0.002
    waiter.wait(until_s)  # would return at once if the second wake had been kept
    assert clock.now() >= until_s


def test_a_poll_clears_a_stale_wake():
    clock = RealClock()
    waiter = clock.waiter()
    waiter.wake()
    waiter.wait(clock.now())
    until_s = clock.now() + 0.002
    waiter.wait(until_s)
    assert clock.now() >= until_s


def test_a_spawned_thread_runs_and_can_be_joined():
    clock = RealClock()
    ran = threading.Event()
    clock.join(clock.spawn(ran.set, name="probe"))
    assert ran.is_set()
