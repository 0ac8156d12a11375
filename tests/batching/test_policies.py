"""The contract that every policy keeps, and what each of them decides."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import ConfigError
from batching.policies import (
    POLICIES,
    Dispatch,
    FinishedBatch,
    Lane,
    TimeoutPolicy,
    Wait,
    Waiting,
    WindowPolicy,
    make_policy,
)

times = st.floats(min_value=0, max_value=1e5)
lanes = st.builds(
    lambda count, oldest_s, priority: Lane(count, count, oldest_s, priority=priority),
    st.integers(1, 100),
    times,
    st.integers(0, 2),
)
situations = st.builds(
    Waiting,
    st.lists(lanes, min_size=1, max_size=4),
    times,
    slot=st.sampled_from(["now", "ahead"]),
    draining=st.booleans(),
)


@pytest.mark.parametrize("name", POLICIES)
class TestEveryPolicy:
    @given(now_s=times, waiting=situations, limit=st.integers(1, 64), timeout_s=st.floats(0, 1))
    def test_never_takes_more_than_waits_or_than_its_limit(
        self, name, now_s, waiting, limit, timeout_s
    ):
        decision = make_policy(name, limit, timeout_s).decide(now_s, waiting)
        if isinstance(decision, Dispatch):
            assert 1 <= decision.count <= min(limit, waiting.lanes[decision.lane].count)
            assert decision.reason

    @given(now_s=times, waiting=situations, limit=st.integers(1, 64), timeout_s=st.floats(0, 1))
    def test_asked_at_the_moment_it_named_it_goes(self, name, now_s, waiting, limit, timeout_s):
        policy = make_policy(name, limit, timeout_s)
        decision = policy.decide(now_s, waiting)
        if isinstance(decision, Wait) and decision.until_s < inf:
            assert decision.until_s > now_s
            assert isinstance(policy.decide(decision.until_s, waiting), Dispatch)

    @given(now_s=times, waiting=situations, limit=st.integers(1, 64), timeout_s=st.floats(0, 1))
    def test_the_same_question_gets_the_same_answer(self, name, now_s, waiting, limit, timeout_s):
        policy = make_policy(name, limit, timeout_s)
        assert policy.decide(now_s, waiting) == policy.decide(now_s, waiting)

    @given(now_s=times, waiting=situations, limit=st.integers(1, 64), timeout_s=st.floats(0, 1))
    def test_a_drain_leaves_nothing_to_wait_for(self, name, now_s, waiting, limit, timeout_s):
        decision = make_policy(name, limit, timeout_s).decide(now_s, waiting)
        if waiting.draining and waiting.slot == "now":
            assert isinstance(decision, Dispatch)

    @given(now_s=times, waiting=situations, limit=st.integers(1, 64), timeout_s=st.floats(0, 1))
    def test_behind_a_running_batch_only_a_full_one_goes(
        self, name, now_s, waiting, limit, timeout_s
    ):
        decision = make_policy(name, limit, timeout_s).decide(now_s, waiting)
        if waiting.slot == "ahead" and isinstance(decision, Dispatch):
            assert decision.count == limit

    def test_accepts_feedback(self, name):
        make_policy(name, 8, 0.01).observe(FinishedBatch(0, 8, 8, 0.0, 0.1, 0.2, ok=True))


def test_an_unknown_policy_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="policy must be one of timeout, window, but got 'fifo'"):
        make_policy("fifo", 8, 0.01)


TIMEOUT_TABLE = [
    # now, count, oldest, free since -> decision, for max_batch_size 4 and a timeout of 10 ms
    (5.000, 4, 5.000, 5.0, Dispatch(0, 4, "full")),  # a full batch never waits
    (5.000, 9, 5.000, 5.0, Dispatch(0, 4, "full")),  # more than full: the rest stays
    (5.000, 1, 5.000, 5.0, Wait(5.010, 4)),  # a lone request is held
    (5.010, 1, 5.000, 5.0, Dispatch(0, 1, "timeout")),  # until its timeout
    (5.500, 3, 5.000, 5.5, Dispatch(0, 3, "timeout")),  # overdue when the worker frees up: go
]


@pytest.mark.parametrize(("now_s", "count", "oldest_s", "free_since_s", "expected"), TIMEOUT_TABLE)
def test_timeout_counts_from_the_oldest_request(now_s, count, oldest_s, free_since_s, expected):
    waiting = Waiting((Lane(count, count, oldest_s),), free_since_s)
    assert TimeoutPolicy(4, 0.010).decide(now_s, waiting) == expected


WINDOW_TABLE = [
    # now, count, oldest, free since -> decision, for max_batch_size 4 and a window of 10 ms
    (5.000, 9, 5.000, 4.0, Wait(5.010)),  # even a full batch waits for the window's end
    (5.010, 9, 5.000, 4.0, Dispatch(0, 4, "window")),  # then at most max_batch_size go
    (5.010, 5, 4.000, 5.0, Dispatch(0, 4, "window")),  # what is left over opens a new window ...
    (5.000, 5, 4.000, 5.0, Wait(5.010)),  # ... when the worker is free again
]


@pytest.mark.parametrize(("now_s", "count", "oldest_s", "free_since_s", "expected"), WINDOW_TABLE)
def test_window_always_runs_out(now_s, count, oldest_s, free_since_s, expected):
    waiting = Waiting((Lane(count, count, oldest_s),), free_since_s)
    assert WindowPolicy(4, 0.010).decide(now_s, waiting) == expected


def test_the_lane_of_higher_priority_goes_first_and_then_the_older_one():
    young, old, urgent = Lane(4, 4, 2.0), Lane(4, 4, 1.0), Lane(4, 4, 3.0, priority=1)
    policy = TimeoutPolicy(4, 0.0)
    assert policy.decide(5.0, Waiting((young, old), 0.0)) == Dispatch(1, 4, "full")
    assert policy.decide(5.0, Waiting((young, old, urgent), 0.0)) == Dispatch(2, 4, "full")
