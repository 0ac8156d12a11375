"""The contract that every policy keeps, and what each of them decides."""

from dataclasses import dataclass
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.policies import (
    POLICIES,
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
    make_policy,
)

BUILT_IN = sorted(POLICIES)


@dataclass(frozen=True)
class Ran:
    """A batch that has run, without its place in time."""

    size: int
    took_s: float
    waited_s: float = 0.0
    ok: bool = True
    worker: int = 0


def taught(policy, *history):
    """The policy after these batches, which ran one after the other."""
    now_s = 0.0
    for ran in history:
        oldest_s, taken_s, completed_s = (
            now_s,
            now_s + ran.waited_s,
            now_s + ran.waited_s + ran.took_s,
        )
        policy.observe(
            FinishedBatch(ran.worker, ran.size, ran.size, oldest_s, taken_s, completed_s, ok=ran.ok)
        )
        now_s = completed_s + 1.0
    return policy


@st.composite
def options(draw):
    limit = draw(st.integers(1, 64))
    timeout_s = draw(st.floats(0, 0.1))
    return PolicyOptions(
        limit,
        timeout_s,
        min_wait_s=timeout_s * draw(st.sampled_from([0.0, 0.5, 1.0])),
        preferred_batch_sizes=tuple(sorted(draw(st.sets(st.integers(1, limit), max_size=4)))),
        slo_s=draw(st.floats(0.001, 0.2)),
    )


@st.composite
def lanes(draw, now_s):
    count = draw(st.integers(1, 100))
    oldest_s = now_s - draw(st.one_of(st.floats(0, 0.2), st.sampled_from([0.0, 0.05, 1e4])))
    deadline_s = draw(st.one_of(st.just(inf), st.floats(0, 0.2).map(lambda s: oldest_s + s)))
    return Lane(count, count, oldest_s, deadline_s, draw(st.integers(0, 2)))


@st.composite
def questions(draw):
    now_s = draw(st.floats(0, 1e5))
    waiting = Waiting(
        draw(st.lists(lanes(now_s), min_size=1, max_size=4)),
        free_since_s=now_s - draw(st.floats(0, 0.2)),
        worker=draw(st.integers(0, 1)),
        slot=draw(st.sampled_from(["now", "ahead"])),
        draining=draw(st.booleans()),
    )
    return now_s, waiting


histories = st.lists(
    st.builds(
        Ran,
        size=st.integers(1, 64),
        took_s=st.floats(0, 0.1),
        waited_s=st.floats(0, 0.3),
        ok=st.sampled_from([True, True, True, False]),
        worker=st.integers(0, 1),
    ),
    max_size=12,
)
few = settings(max_examples=25)  # of each of a dozen properties, for each policy
any_time = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([nan, inf, -inf]))
nonsense = st.lists(
    st.builds(
        FinishedBatch,
        worker=st.integers(0, 3),
        size=st.integers(-1, 200),
        weight=st.integers(0, 9999),
        oldest_s=any_time,
        taken_s=any_time,
        completed_s=any_time,
        ok=st.booleans(),
    ),
    max_size=20,
)


def made(name, given_options, history=()):
    return taught(make_policy(name, given_options), *history)


def limit_of(policy, given_options):
    """The most it takes at present."""
    return getattr(policy, "limit", given_options.max_batch_size)


@pytest.mark.parametrize("name", BUILT_IN)
class TestEveryPolicy:
    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_never_takes_more_than_waits_or_than_its_limit(self, name, asked, opts, history):
        policy = made(name, opts, history)
        decision = policy.decide(*asked)
        assert limit_of(policy, opts) <= opts.max_batch_size
        if isinstance(decision, Dispatch):
            waits = asked[1].lanes[decision.lane].count
            assert 1 <= decision.count <= min(limit_of(policy, opts), waits)
            assert decision.reason
        elif isinstance(decision, Shed):
            assert 1 <= decision.count <= asked[1].lanes[decision.lane].count

    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_a_wait_is_not_over_before_it_has_begun(self, name, asked, opts, history):
        now_s, waiting = asked
        decision = made(name, opts, history).decide(now_s, waiting)
        if isinstance(decision, Wait):
            assert decision.until_s > now_s
            assert decision.until_weight > max(lane.weight for lane in waiting.lanes)

    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_asked_at_the_moment_it_named_it_dispatches_or_sheds(self, name, asked, opts, history):
        policy = made(name, opts, history)
        decision = policy.decide(*asked)
        if isinstance(decision, Wait) and decision.until_s < inf:
            assert not isinstance(policy.decide(decision.until_s, asked[1]), Wait)

    @given(
        asked=questions(),
        others=st.lists(questions(), max_size=5),
        opts=options(),
        history=histories,
    )
    def test_the_same_question_gets_the_same_answer(self, name, asked, others, opts, history):
        policy = made(name, opts, history)
        decision = policy.decide(*asked)
        for other in others:
            policy.decide(*other)
        assert policy.decide(*asked) == decision
        assert made(name, opts, history).decide(*asked) == decision

    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_a_drain_leaves_nothing_to_wait_for(self, name, asked, opts, history):
        decision = made(name, opts, history).decide(*asked)
        if asked[1].draining and asked[1].slot == "now":
            assert not isinstance(decision, Wait)

    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_behind_a_running_batch_only_a_full_one_goes(self, name, asked, opts, history):
        policy = made(name, opts, history)
        decision = policy.decide(*asked)
        if asked[1].slot == "ahead" and isinstance(decision, Dispatch):
            assert decision.count == limit_of(policy, opts)

    @few
    @given(asked=questions(), opts=options(), history=histories)
    def test_a_lower_priority_goes_only_where_no_higher_one_is_ready(
        self, name, asked, opts, history
    ):
        now_s, waiting = asked
        policy = made(name, opts, history)
        decision = policy.decide(now_s, waiting)
        if not isinstance(decision, Dispatch):
            return
        above = [
            lane for lane in waiting.lanes if lane.priority > waiting.lanes[decision.lane].priority
        ]
        for lane in above:
            alone = Waiting([lane], waiting.free_since_s, slot=waiting.slot)
            assert isinstance(policy.decide(now_s, alone), Wait)

    @few
    @given(asked=questions(), opts=options(), seen=nonsense)
    def test_takes_any_feedback(self, name, asked, opts, seen):
        policy = make_policy(name, opts)
        for batch in seen:
            policy.observe(batch)
        assert 1 <= limit_of(policy, opts) <= opts.max_batch_size
        assert isinstance(policy.decide(*asked), Dispatch | Wait | Shed)


def one_lane(count, oldest_s, free_since_s=0.0, **more):
    return Waiting([Lane(count, count, oldest_s)], free_since_s, **more)


class TestTimeout:
    @pytest.mark.parametrize(
        ("now_s", "count", "oldest_s", "expected"),
        [
            # For max_batch_size 4 and a timeout of 10 ms.
            (5.000, 4, 5.000, Dispatch(0, 4, "full")),  # a full batch never waits
            (5.000, 9, 5.000, Dispatch(0, 4, "full")),  # more than full: the rest stays
            (5.000, 1, 5.000, Wait(5.010, 4)),  # a lone request is held
            (5.010, 1, 5.000, Dispatch(0, 1, "timeout")),  # until its timeout
            (5.500, 3, 5.000, Dispatch(0, 3, "timeout")),  # overdue when the worker frees up: go
        ],
    )
    def test_the_timeout_counts_from_the_oldest_request(self, now_s, count, oldest_s, expected):
        policy = TimeoutPolicy(PolicyOptions(4, 0.010))
        assert policy.decide(now_s, one_lane(count, oldest_s)) == expected

    @pytest.mark.parametrize(
        ("now_s", "count", "expected"),
        [
            # For max_batch_size 32, preferred 4 and 8, a timeout of 10 ms; the oldest came at 5.
            (5.000, 3, Wait(5.010, 4)),  # asked again at the first preferred size, not before
            (5.001, 4, Dispatch(0, 4, "preferred")),  # which goes at once
            (5.001, 7, Dispatch(0, 4, "preferred")),  # and what is beyond it stays
            (5.001, 8, Dispatch(0, 8, "preferred")),  # the largest of those that wait goes
            (5.001, 40, Dispatch(0, 32, "full")),  # a full batch is larger than any preferred one
            (5.010, 3, Dispatch(0, 3, "timeout")),  # without one, the timeout rule
        ],
    )
    def test_a_preferred_size_goes_at_once(self, now_s, count, expected):
        policy = TimeoutPolicy(PolicyOptions(32, 0.010, preferred_batch_sizes=(4, 8)))
        assert policy.decide(now_s, one_lane(count, 5.0)) == expected

    @pytest.mark.parametrize(
        ("now_s", "count", "more", "expected"),
        [
            # As above, with a minimum wait of 4 ms.
            (5.001, 5, {}, Wait(5.004, 32)),  # a preferred size may be outgrown: it waits
            (5.001, 3, {}, Wait(5.010, 4)),  # below it, the timeout is what comes next
            (5.004, 9, {}, Dispatch(0, 8, "preferred")),  # after it, the largest goes
            (5.001, 32, {}, Dispatch(0, 32, "full")),  # a full batch is not held back
            (5.001, 5, {"draining": True}, Dispatch(0, 5, "drain")),  # nor is a drain
        ],
    )
    def test_the_minimum_wait_holds_back_all_but_full_and_drain(self, now_s, count, more, expected):
        policy = TimeoutPolicy(PolicyOptions(32, 0.010, 0.004, (4, 8)))
        assert policy.decide(now_s, one_lane(count, 5.0, **more)) == expected

    @pytest.mark.parametrize(
        ("lanes", "expected"),
        [
            # At 5.0, for max_batch_size 4 and a timeout of 1 s; (count, oldest, priority) each.
            ([(4, 2.0, 0), (4, 1.0, 0)], Dispatch(1, 4, "full")),  # two full ones: the older
            ([(4, 4.9, 0), (1, 1.0, 0)], Dispatch(0, 4, "full")),  # full before overdue
            ([(4, 1.0, 0), (4, 4.9, 1)], Dispatch(1, 4, "full")),  # priority before age
            ([(4, 1.0, 0), (1, 3.0, 1)], Dispatch(1, 1, "timeout")),  # ready before full below it
            ([(4, 1.0, 0), (1, 4.9, 1)], Dispatch(0, 4, "full")),  # but not ready: do not idle
            ([(1, 4.5, 0), (2, 4.9, 1)], Wait(5.5, 4)),  # none is ready: until the first one is
        ],
    )
    def test_of_several_lanes_the_ready_one_of_highest_priority_goes(self, lanes, expected):
        waiting = Waiting([Lane(n, n, oldest, priority=p) for n, oldest, p in lanes], 0.0)
        assert TimeoutPolicy(PolicyOptions(4, 1.0)).decide(5.0, waiting) == expected

    def test_of_several_lanes_the_wait_names_a_size_that_none_has_yet(self):
        policy = TimeoutPolicy(PolicyOptions(32, 0.010, 0.004, (4, 8)))
        waiting = Waiting([Lane(2, 2, 5.0), Lane(6, 6, 5.0005)], 0.0)
        # The first is due at 5.010 and prefers 4, but 6 wait beside it: that would never end.
        assert policy.decide(5.001, waiting) == Wait(5.0005 + 0.004, 32)

    def test_of_several_lanes_below_a_preferred_size_the_first_to_reach_it_ends_the_wait(self):
        policy = TimeoutPolicy(PolicyOptions(32, 0.010, 0.004, (4, 8)))
        waiting = Waiting([Lane(2, 2, 5.0), Lane(3, 3, 5.0005)], 0.0)
        assert policy.decide(5.001, waiting) == Wait(5.010, 4)


class TestWindow:
    @pytest.mark.parametrize(
        ("now_s", "count", "oldest_s", "free_since_s", "expected"),
        [
            # For max_batch_size 4 and a window of 10 ms.
            (5.000, 9, 5.000, 4.0, Wait(5.010)),  # even a full batch waits for the window's end
            (5.010, 9, 5.000, 4.0, Dispatch(0, 4, "window")),  # then at most max_batch_size go
            (5.010, 5, 4.000, 5.0, Dispatch(0, 4, "window")),  # leftovers open a new window ...
            (5.000, 5, 4.000, 5.0, Wait(5.010)),  # ... when the worker is free again
        ],
    )
    def test_it_always_runs_out(self, now_s, count, oldest_s, free_since_s, expected):
        policy = WindowPolicy(PolicyOptions(4, 0.010))
        assert policy.decide(now_s, one_lane(count, oldest_s, free_since_s)) == expected


class TestAdaptive:
    def adaptive(self, *history, **changed):
        options = {"max_batch_size": 32, "batch_timeout_s": 0.5, "slo_s": 0.1, **changed}
        return taught(AdaptivePolicy(PolicyOptions(**options)), *history)

    @pytest.mark.parametrize(
        ("history", "limit"),
        [
            # For an SLO of 100 ms, so 75 ms of execution, and max_batch_size 32.
            ([], 1),  # nothing is known: start small
            ([Ran(1, 0.01)], 2),  # full and in time: one more
            ([Ran(16, 0.01)], 16),  # larger and in time, from a warm-up: that much is known
            ([Ran(16, 0.01), Ran(9, 0.01)], 16),  # not full: says nothing of larger ones
            ([Ran(16, 0.01), Ran(9, 0.09)], 14),  # too slow, whatever its size: a tenth less
            ([Ran(16, 0.01), Ran(16, 0.01, 9.0)], 17),  # a backlog does not shrink it
            ([Ran(16, 0.01), Ran(16, 0.09, 0.08)], 17),  # late before it ran: capacity is lacking
            ([Ran(16, 0.01), Ran(16, 0.09, ok=False)], 16),  # failed: not judged
            ([Ran(99, 0.01)], 32),  # never above max_batch_size
            ([Ran(1, 0.09)] * 9, 1),  # nor below 1
        ],
    )
    def test_the_limit_grows_by_one_and_shrinks_by_a_tenth(self, history, limit):
        policy = self.adaptive(*history)
        assert policy.limit == limit
        assert policy.decide(0.0, one_lane(64, 0.0)) == Dispatch(0, limit, "full")

    def test_a_request_is_held_for_what_execution_leaves_of_the_slo(self):
        held = self.adaptive(Ran(16, 0.01)).decide(5.0, one_lane(1, 5.0))
        assert held == Wait(5.0 + 0.025, 16)

    def test_but_no_longer_than_the_timeout(self):
        held = self.adaptive(Ran(16, 0.01), batch_timeout_s=0.01).decide(5.0, one_lane(1, 5.0))
        assert held == Wait(5.0 + 0.01, 16)

    def test_a_batch_that_stood_behind_another_is_not_blamed_for_it(self):
        policy = self.adaptive(Ran(16, 0.06))
        policy.observe(FinishedBatch(0, 16, 16, 0.01, 0.01, 0.12, ok=True))  # 110 ms, 60 of its own
        assert policy.limit == 17


class TestDeadline:
    KNOWN = (Ran(1, 0.010), Ran(1, 0.010), Ran(32, 0.041), Ran(32, 0.041))

    def deadline(self, history=KNOWN, **changed):
        """It knows that a batch of n takes 9 + n ms, exactly."""
        options = {"max_batch_size": 32, "batch_timeout_s": 0.5, "slo_s": 0.1, **changed}
        return taught(DeadlinePolicy(PolicyOptions(**options)), *history)

    @pytest.mark.parametrize(
        ("now_s", "count", "free_since_s", "expected"),
        [
            # The oldest came at 5, the SLO is 100 ms, of which 5 are kept back.
            (5.0000, 1, 0.0, Wait(5.084, 2)),  # a batch of 2 takes 11 ms
            (5.0000, 2, 0.0, Wait(5.082, 4)),  # with 4 it takes 13: the last safe moment is earlier
            (5.0000, 5, 0.0, Wait(5.078, 8)),  # the question comes again at 2, 4, 8 ...
            (5.0841, 1, 0.0, Dispatch(0, 1, "deadline")),  # asked at that moment it goes
            (5.0500, 20, 0.0, Wait(5.054, 32)),  # no more than the limit is waited for
            (5.0000, 32, 0.0, Dispatch(0, 32, "full")),  # a full batch never waits
            (5.0820, 3, 5.08, Dispatch(0, 3, "deadline")),  # the worker frees up late: go
            (5.0885, 3, 5.08, Shed(0, 1)),  # too late for a batch of 3: the oldest is lost
            (5.0885, 3, 0.0, Dispatch(0, 2, "deadline")),  # but not if nobody is behind it
            (5.0885, 3, 5.0, Dispatch(0, 2, "deadline")),  # nor if it found the worker free
            (5.0910, 1, 0.0, Shed(0, 1)),  # too late even alone, and even so
        ],
    )
    def test_it_goes_at_the_last_safe_moment(self, now_s, count, free_since_s, expected):
        decision = self.deadline().decide(now_s, one_lane(count, 5.0, free_since_s))
        if isinstance(expected, Wait):
            assert decision.until_s == pytest.approx(expected.until_s)
            assert decision.until_weight == expected.until_weight
        else:
            assert decision == expected

    def test_the_limit_is_the_largest_batch_that_fits_the_slo(self):
        assert self.deadline().limit == 32
        assert self.deadline(slo_s=0.03).limit == 19  # 9 + 19 ms, and the reserve of 1.5
        assert self.deadline(history=()).limit == 32

    def test_a_deadline_sooner_than_the_slo_is_kept(self):
        waiting = Waiting([Lane(1, 1, 5.0, earliest_deadline_s=5.05)], 0.0)
        assert self.deadline().decide(5.0, waiting).until_s == pytest.approx(5.05 - 0.005 - 0.011)
        waiting = Waiting([Lane(1, 1, 5.0, earliest_deadline_s=5.005)], 0.0)
        assert self.deadline().decide(5.0, waiting) == Shed(0, 1)

    def test_a_hopeless_deadline_of_some_request_does_not_cost_the_oldest_its_place(self):
        waiting = Waiting([Lane(3, 3, 5.0, earliest_deadline_s=5.005)], 0.0)
        assert self.deadline().decide(5.0, waiting) == Dispatch(0, 3, "deadline")

    def test_with_nothing_learned_it_decides_as_timeout_does(self):
        policy = self.deadline(history=())
        assert policy.decide(5.0, one_lane(1, 5.0)) == Wait(5.5, 32)
        assert policy.decide(5.5, one_lane(1, 5.0)) == Dispatch(0, 1, "timeout")

    def test_an_slo_that_no_request_can_keep_sheds_nobody(self):
        policy = self.deadline(slo_s=0.005)
        assert policy.decide(5.5, one_lane(1, 5.0, 5.4)) == Dispatch(0, 1, "timeout")

    def test_lanes_that_share_a_worker_start_early_enough_for_both(self):
        policy = self.deadline()
        waiting = Waiting([Lane(1, 1, 5.001), Lane(1, 1, 5.0)], 0.0)
        wait = policy.decide(5.01, waiting)
        # The second has until 5.084 and the first until 5.085, but it has to run after it.
        assert wait.until_s == pytest.approx(5.085 - 0.011)
        assert policy.decide(wait.until_s, waiting) == Dispatch(1, 1, "deadline")

    def test_behind_a_running_batch_it_asks_again_only_when_full(self):
        assert self.deadline().decide(5.0, one_lane(3, 5.0, slot="ahead")) == Wait(inf, 32)

    def test_a_full_batch_goes_ahead_in_time_and_no_part_of_one_that_is_late(self):
        full = one_lane(32, 5.0, slot="ahead")
        assert self.deadline().decide(5.0, full) == Dispatch(0, 32, "full")
        # With 32 it takes 41 ms of the 100: after 5.059 all 32 are late, and fewer do not go ahead.
        late = self.deadline().decide(5.08, full)
        assert not isinstance(late, Dispatch)
        assert self.deadline().decide(5.0795, one_lane(32, 5.0, 4.0)) == Dispatch(0, 11, "deadline")
