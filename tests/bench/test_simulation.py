"""The simulator against the live batcher on the virtual clock: the same to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching import DynamicBatcher, QueueFullError, VirtualClock
from batching.models import AffineModel, RooflineModel
from batching.policies import PolicyOptions, make_policy
from bench.simulation import ExactService, Overheads, simulate

MS = 1e-3


@st.composite
def traces(draw):
    """Arrivals on a coarse grid, so that much happens at the same instant, and off it."""
    count = draw(st.integers(1, 60))
    grid = st.integers(0, 12).map(lambda n: n * MS)
    anywhere = st.floats(0.0, 8 * MS, allow_subnormal=False)
    gaps_s = draw(st.lists(st.one_of(grid, anywhere), min_size=count, max_size=count))
    # At 0 the live batcher's threads are still coming up, one after the other.
    return np.cumsum([MS, *gaps_s[1:]]).tolist()


@st.composite
def policy_options(draw):
    largest = draw(st.integers(1, 9))
    timeout_s = draw(st.sampled_from([0.0, 1 * MS, 3 * MS, 10 * MS]))
    return draw(st.sampled_from(["timeout", "window", "adaptive", "deadline"])), PolicyOptions(
        max_batch_size=largest,
        batch_timeout_s=timeout_s,
        min_wait_s=draw(st.sampled_from([0.0, timeout_s / 2])),
        preferred_batch_sizes=tuple(sorted(draw(st.sets(st.integers(1, largest), max_size=2)))),
        slo_s=draw(st.sampled_from([6 * MS, 12 * MS, 40 * MS])),
    )


models = st.one_of(
    st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.0, 0.25, 1.0])).map(
        lambda p: lambda clock: AffineModel(p[0] * MS, p[1] * MS, clock)
    ),
    st.just(lambda clock: RooflineModel(0.5 * MS, 2 * MS, 0.5 * MS, clock)),
)
knobs = st.fixed_dictionaries(
    {
        "replicas": st.integers(1, 3),
        "in_flight": st.integers(1, 2),
        "max_queue_size": st.one_of(st.none(), st.integers(1, 12)),
        "deadline_ms": st.one_of(st.none(), st.sampled_from([2.0, 5.0, 20.0])),
    }
)


def live(arrival_s, model, policy, options, *, replicas, in_flight, max_queue_size, deadline_ms):
    """The live batcher in virtual time; per batch what happened, and each request's ending."""
    clock = VirtualClock()
    batches = []
    batcher = DynamicBatcher(
        model(clock),
        max_batch_size=options.max_batch_size,
        policy=make_policy(policy, options),
        replicas=replicas,
        in_flight=in_flight,
        max_queue_size=max_queue_size,
        deadline_ms=deadline_ms,
        observer=lambda record, requests: batches.append((record, list(requests))),
        warm_up_budget_s=0,
        clock=clock,
    )
    batcher.start()
    requests = []
    for i, at_s in enumerate(arrival_s):
        clock.sleep_until(at_s)
        try:
            requests.append(batcher.submit(i))
        except QueueFullError as error:
            requests.append(error.request)
    batcher.stop()
    index = {id(request): i for i, request in enumerate(requests)}
    rows = [
        (
            record.worker,
            [index[id(request)] for request in members],
            record.reason,
            record.taken_s,
            record.started_s,
            record.completed_s,
        )
        for record, members in sorted(batches, key=lambda entry: entry[0].batch)
    ]
    ended_s = {
        i: (request.status, request.ended_s)
        for i, request in enumerate(requests)
        if request.status != "ok"
    }
    return rows, ended_s


def simulated(
    arrival_s, model, policy, options, *, replicas, in_flight, max_queue_size, deadline_ms
):
    run = simulate(
        arrival_s,
        make_policy(policy, options),
        ExactService.of(model(VirtualClock())),
        replicas=replicas,
        in_flight=in_flight,
        max_queue_size=max_queue_size,
        deadline_s=None if deadline_ms is None else deadline_ms / 1e3,
    )
    accepted = list(range(len(arrival_s))) if run.accepted is None else list(run.accepted)
    rows = [
        (
            run.worker[b],
            accepted[run.first[b] : run.first[b] + run.size[b]],
            run.reason[b],
            run.taken_s[b],
            run.started_s[b],
            run.completed_s[b],
        )
        for b in range(len(run.size))
    ]
    ended_s = {
        i: ("rejected", arrival_s[i]) for first, stop in run.rejected for i in range(first, stop)
    }
    ended_s |= {
        accepted[i]: ("expired", at_s)
        for first, stop, at_s in run.expired
        for i in range(first, stop)
    }
    return rows, ended_s


@settings(max_examples=400, deadline=None)
@given(arrival_s=traces(), model=models, policy=policy_options(), knobs=knobs)
def test_the_simulator_does_what_the_live_batcher_does(arrival_s, model, policy, knobs):
    expected = live(arrival_s, model, *policy, **knobs)
    assert simulated(arrival_s, model, *policy, **knobs) == expected
