"""The compiled engine against the plain one: equal to the last bit."""

import signal
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching import VirtualClock
from batching.models import AffineModel
from batching.policies import AdaptivePolicy, PolicyOptions, TimeoutPolicy, WindowPolicy
from bench.profiling.service_times import ExactService, Overheads, ProfileSource
from bench.simulation import compiled, simulate
from bench.simulation.engine import simulate_plainly
from tests.batching.profiled import from_times

MS = 1e-3
PROFILE = from_times(
    {
        1: [1.0 * MS, 1.2 * MS, 0.9 * MS, 5.0 * MS],
        2: [1.5 * MS, 1.4 * MS, 1.7 * MS, 6.0 * MS],
        4: [2.0 * MS, 2.1 * MS, 2.6 * MS, 9.0 * MS],
        9: [4.0 * MS, 3.9 * MS, 4.6 * MS],
    },
    wake_s=(0.0001, 0.0002),
    timer_s=(0.0003,),
    turn_s=(0.0, 0.00005),
)


@st.composite
def cases(draw):
    """Arrivals on a coarse grid, so that much happens at the same instant, and off it."""
    gap = st.one_of(
        st.integers(0, 12).map(lambda n: n * MS), st.floats(0.0, 8 * MS, allow_subnormal=False)
    )
    arrival_s = np.cumsum(draw(st.lists(gap, min_size=1, max_size=80)))
    largest = draw(st.integers(1, 9))
    timeout_s = draw(st.sampled_from([0.0, 1 * MS, 3 * MS, 10 * MS]))
    options = PolicyOptions(
        max_batch_size=largest,
        batch_timeout_s=timeout_s,
        min_wait_s=draw(st.sampled_from([0.0, timeout_s / 2])),
        preferred_batch_sizes=tuple(sorted(draw(st.sets(st.integers(1, largest), max_size=3)))),
    )
    limits = compiled.Limits(
        replicas=draw(st.integers(1, 4)),
        in_flight=draw(st.integers(1, 2)),
        max_queue_size=draw(st.one_of(st.none(), st.integers(1, 12))),
        deadline_s=draw(st.one_of(st.none(), st.sampled_from([2 * MS, 5 * MS, 20 * MS]))),
    )
    service = draw(st.sampled_from(["exact", "profile"]))
    policy = draw(st.sampled_from([TimeoutPolicy, WindowPolicy]))
    return arrival_s, policy, options, service, draw(st.integers(0, 3)), limits


def batch_times(service, seed):
    if service == "exact":
        return ExactService.of(AffineModel(1 * MS, 0.25 * MS, VirtualClock())), Overheads()
    return ProfileSource(PROFILE).draw(seed)


def columns(run):
    """Everything that a simulation left, as lists."""
    return {
        each.name: None if getattr(run, each.name) is None else list(getattr(run, each.name))
        for each in fields(run)
    }


@pytest.fixture(autouse=True)
def _no_endless_loop():
    """A comparison that is a bit off can ask for ever, in code that no exception ends."""
    signal.alarm(300)
    yield
    signal.alarm(0)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_it_gives_what_the_plain_engine_gives_to_the_last_bit(case):
    arrival_s, policy, options, service, seed, limits = case
    known, overheads = batch_times(service, seed)
    found = compiled.serve(arrival_s, compiled.case_of(policy(options), known, overheads), limits)
    known, overheads = batch_times(service, seed)
    plain = simulate_plainly(arrival_s, policy(options), known, limits, overheads)
    assert columns(found) == columns(plain)


@pytest.mark.parametrize("service", ["exact", "profile"])
def test_a_long_trace_needs_more_of_every_series_and_more_room_than_is_there_at_first(service):
    arrival_s = np.cumsum(np.random.default_rng(1).exponential(0.25 * MS, 30_000))
    limits = compiled.Limits(2, 2, max_queue_size=7, deadline_s=1.5 * MS)
    policy = TimeoutPolicy(PolicyOptions(max_batch_size=4, batch_timeout_s=2 * MS))
    known, overheads = batch_times(service, 5)
    found = compiled.serve(arrival_s, compiled.case_of(policy, known, overheads), limits)
    known, overheads = batch_times(service, 5)
    plain = simulate_plainly(arrival_s, policy, known, limits, overheads)
    assert len(found.size) > 2000
    assert min(len(found.rejected), len(found.expired)) > 64
    assert columns(found) == columns(plain)


class Own(TimeoutPolicy):
    """A user's policy that begins as a built-in one."""


@pytest.mark.parametrize(
    ("policy", "overheads"),
    [
        pytest.param(Own, Overheads(), id="a subclass, which may decide otherwise"),
        pytest.param(AdaptivePolicy, Overheads(), id="a policy that learns"),
        pytest.param(TimeoutPolicy, Overheads(gap_s=lambda: 1.0), id="overheads of one's own"),
    ],
)
def test_what_it_does_not_know_goes_to_the_plain_engine(policy, overheads):
    options = PolicyOptions(max_batch_size=4, batch_timeout_s=0.0, slo_s=0.1)
    service, _ = batch_times("exact", 0)
    assert compiled.case_of(policy(options), service, overheads) is None


@pytest.mark.parametrize(
    ("switch", "before", "there", "served"),
    [
        pytest.param("", 0, True, [], id="little was simulated so far"),
        pytest.param("", 2_000_000, True, [3], id="much was"),
        pytest.param("no", 2_000_000, True, [], id="switched off"),
        pytest.param("always", 0, True, [3], id="switched on"),
        pytest.param("always", 0, False, [], id="numba is not there"),
    ],
)
def test_it_serves_once_it_pays(monkeypatch, switch, before, there, served):
    seen, proper = [], compiled.serve

    monkeypatch.setenv(compiled.SWITCH, switch)
    monkeypatch.setattr(compiled, "_simulated", before)
    monkeypatch.setattr(compiled, "_there", lambda: there)
    monkeypatch.setattr(
        compiled,
        "serve",
        lambda times_s, *rest: seen.append(len(times_s)) or proper(times_s, *rest),
    )
    policy = TimeoutPolicy(PolicyOptions(max_batch_size=4, batch_timeout_s=0.0))
    run = simulate([0.0, 0.0, 1.0], policy, batch_times("exact", 0)[0])
    assert seen == served
    assert list(run.size) == [2, 1]
