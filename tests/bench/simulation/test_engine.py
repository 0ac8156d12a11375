"""The simulator against the live batcher on the virtual clock: the same to the last bit."""

import contextlib
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching import BatchingError, DynamicBatcher, QueueFullError, VirtualClock
from batching.models import AffineModel, RooflineModel
from batching.policies import Dispatch, PolicyOptions, Shed, TimeoutPolicy, Wait, make_policy
from batching.profiles import BatchSample, ServiceProfile, Subject
from bench.errors import InputError
from bench.profiling.service_times import ExactSource, ProfileSource
from bench.settings import BatcherSettings
from bench.simulation import ExactService, Overheads, simulate
from bench.simulation.bounds import bounds, fluid_backlog
from bench.simulation.capacity import find_capacity, pooled_percentile_s
from bench.simulation.compiled import SWITCH
from bench.simulation.outcome import endings, outcome, simulation_logs
from bench.simulation.setup import Setup
from results.run.breakdown import breakdown
from results.run.metrics import compute_metrics, latencies
from workloads import load, resolve

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


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 3), min_size=4, max_size=40),
    batch_ms=st.integers(2, 4),
    limit=st.integers(1, 2),
    replicas=st.integers(2, 3),
)
def test_no_batch_goes_ahead_of_a_running_one_while_another_worker_is_wholly_free(
    gaps, batch_ms, limit, replicas
):
    # On one coarse grid, so that batches of several workers end at the instants of arrivals.
    rows, _ = simulated(
        [float(at_ms) for at_ms in np.cumsum(gaps)],
        lambda clock: AffineModel(batch_ms, 0.0, clock),
        "timeout",
        PolicyOptions(max_batch_size=limit, batch_timeout_s=0.0),
        replicas=replicas,
        in_flight=2,
        max_queue_size=None,
        deadline_ms=None,
    )
    held = [(worker, taken_s, completed_s) for worker, _, _, taken_s, _, completed_s in rows]
    for b, (worker, taken_s, _) in enumerate(held):
        holds = {w for w, since_s, until_s in held[:b] if since_s <= taken_s < until_s}
        assert worker not in holds or holds == set(range(replicas))


EXAMPLE = {
    "arrival_s": np.cumsum(np.random.default_rng(3).exponential(1 / 900.0, 4000)),
    "window_s": 4.0,
}


def test_a_policy_is_asked_at_the_same_instants_live_and_simulated():
    """Of a batch of 4 with room for 2 nobody is woken by those who are turned away."""

    def asked_at(serve):
        at_s = []

        class Noted(TimeoutPolicy):
            def decide(self, now_s, waiting):
                at_s.append(now_s)
                return super().decide(now_s, waiting)

        serve(Noted(PolicyOptions(4, 10 * MS)))
        return at_s

    arrival_s = [1 * MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS, 100 * MS]

    def live(policy):
        clock = VirtualClock()
        model = AffineModel(1 * MS, 0.0, clock)
        batcher = DynamicBatcher(model, policy=policy, max_batch_size=4, max_queue_size=2,
                                 warm_up_budget_s=0, clock=clock)  # fmt: skip
        batcher.start()
        for at_s in arrival_s:
            clock.sleep_until(at_s)
            with contextlib.suppress(QueueFullError):
                batcher.submit(None)
        batcher.stop()

    def simulated(policy):
        service = ExactService.of(AffineModel(1 * MS, 0.0, VirtualClock()))
        simulate(arrival_s, policy, service, max_queue_size=2)

    assert asked_at(simulated) == asked_at(live)


def run_example(source=None, seed=0, **knobs):
    source = source or ExactSource(AffineModel(5 * MS, 0.5 * MS, VirtualClock()), 64)
    setup = Setup(BatcherSettings(max_batch_size=16, batch_timeout_ms=4.0, **knobs), source)
    return setup.run(EXAMPLE["arrival_s"], seed), setup


@pytest.mark.parametrize("policy", ["deadline", "adaptive", "timeout"])
def test_a_simulated_policy_starts_with_what_warming_up_teaches_the_live_one(policy):
    arrival_s = np.cumsum(np.random.default_rng(3).exponential(0.8 * MS, 2000))
    clock, sizes = VirtualClock(), []
    model = AffineModel(5 * MS, 0.1 * MS, clock)
    knobs = BatcherSettings(max_batch_size=32, batch_timeout_ms=2.0, policy=policy, slo_ms=40.0)
    batcher = DynamicBatcher(
        model,
        max_batch_size=32,
        policy=Setup(knobs, ExactSource(model, 64)).policy(),
        observer=lambda record, _: sizes.append(record.size),
        clock=clock,
    )
    batcher.start()
    sizes.clear()
    ready_s = clock.now()
    for at_s in arrival_s:
        clock.sleep_until(ready_s + at_s)
        batcher.submit(0)
    batcher.stop()
    run = Setup(knobs, ExactSource(model, 64)).run(arrival_s)
    assert sizes == list(run.size)


class TestLogsAndNumbers:
    @pytest.mark.parametrize(
        "knobs",
        [
            {},
            {"max_queue_size": 20},
            {"deadline_ms": 8.0},
            {"max_queue_size": 9, "deadline_ms": 9.0},
        ],
        ids=str,
    )
    def test_the_quick_numbers_are_those_of_the_metrics(self, knobs):
        run, _ = run_example(**knobs)
        arrival_s, window_s = EXAMPLE["arrival_s"], EXAMPLE["window_s"]
        metrics = compute_metrics(simulation_logs(run, arrival_s, 16).validated(), window_s)
        numbers = outcome(run, arrival_s, window_s)
        assert (metrics.counts.submitted, metrics.counts.ok) == (numbers.requests, numbers.ok)
        assert metrics.throughput_rps == pytest.approx(numbers.throughput_rps)
        assert metrics.latency_s.mean == pytest.approx(float(numbers.latency_s.mean()))
        assert metrics.latency_s.max == numbers.latency_s.max()
        assert metrics.batch.mean_size == pytest.approx(numbers.mean_batch_size)
        assert metrics.device.busy_fraction == pytest.approx(numbers.busy_fraction)
        assert metrics.device.busy_s_per_request == pytest.approx(numbers.device_s_per_request)
        if metrics.counts.ok == metrics.counts.submitted:
            assert metrics.latency_s.p99 == numbers.percentile_s(0.99)
            assert metrics.latency_s.p50 == numbers.percentile_s(0.5)

    def test_a_request_without_an_answer_took_for_ever(self):
        run, _ = run_example(max_queue_size=4)
        numbers = outcome(run, EXAMPLE["arrival_s"], EXAMPLE["window_s"])
        lost = numbers.requests - numbers.ok
        assert lost > 0.02 * numbers.requests
        assert numbers.percentile_s(0.99) == np.inf
        assert numbers.percentile_s(0.5) < 1.0
        assert numbers.mean_s == np.inf

    def test_every_request_has_one_ending_and_parts_that_sum_to_its_latency(self):
        run, _ = run_example(max_queue_size=12, deadline_ms=9.0)
        logs = simulation_logs(run, EXAMPLE["arrival_s"], 16).validated()
        assert set(logs.requests["status"]) == {"ok", "rejected", "expired"}
        parts = breakdown(logs.requests, logs.batches, 1).sum(axis=1)
        np.testing.assert_allclose(parts, latencies(logs.requests), atol=1e-9)

    @pytest.mark.parametrize("compiled", ["no", "always"])
    def test_memory_is_less_than_100_bytes_a_request(self, monkeypatch, compiled):
        monkeypatch.setenv(SWITCH, compiled)
        # At small batches, where there is most to keep for each request.
        arrival_s = np.cumsum(np.random.default_rng(0).exponential(1 / 300.0, 100_000)).tolist()
        setup = run_example()[1]
        setup.run(arrival_s[:10])  # compiles
        tracemalloc.start()
        run = setup.run(arrival_s)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(run.size) > 30_000
        assert peak / len(arrival_s) < 68  # the list of arrivals is 32 bytes a request more


def alone(arrival_s, service_s, **knobs):
    """Latencies of a single server without batching, seconds `[N]`."""
    source = ExactSource(AffineModel(service_s, 0.0, VirtualClock()), 4096)
    knobs = {"max_batch_size": 1, "batch_timeout_ms": 0.0} | knobs
    run = Setup(BatcherSettings(**knobs), source).run(arrival_s)
    return endings(run, arrival_s).ended_s - arrival_s


class TestAgainstClosedForms:
    def test_d_d_1_answers_each_request_after_its_service(self):
        latency_s = alone(np.arange(1000) * 10 * MS, 4 * MS)
        np.testing.assert_allclose(latency_s, 4 * MS, rtol=1e-9)

    def test_d_d_1_in_overload_falls_behind_by_the_same_each_time(self):
        latency_s = alone(np.arange(1000) * 3 * MS, 4 * MS)
        np.testing.assert_allclose(latency_s, 4 * MS + np.arange(1000) * 1 * MS, rtol=1e-9)

    @pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
    def test_m_d_1_waits_as_pollaczek_and_khinchine_say(self, load):
        # Mean wait = rho S / (2 (1 - rho)), S the service time (Kleinrock, Queueing Systems I, 5.6)
        service_s = 4 * MS
        means_s = []
        for seed in range(12):
            gaps_s = np.random.default_rng(seed).exponential(service_s / load, 10_000)
            means_s.append(alone(np.cumsum(gaps_s), service_s)[1000:].mean())
        expected_s = service_s + load * service_s / (2 * (1 - load))
        error_s = np.std(means_s, ddof=1) / np.sqrt(len(means_s))
        assert abs(np.mean(means_s) - expected_s) < 4 * error_s

    def test_a_window_that_takes_all_is_a_renewal_process(self):
        # With window w, service a whatever the size, no limit and rate r, a batch holds those who
        # came in the service before (r a of them, each a/2 + w + a late on average), the first
        # one if there were none (probability e^(-r a), w + a late), and those who came in the
        # window (r w of them, w/2 + a late).
        w, a, r = 6 * MS, 4 * MS, 500.0
        empty = np.exp(-r * a)
        late_s = r * a * (1.5 * a + w) + empty * (w + a) + r * w * (w / 2 + a)
        expected_s = late_s / (r * a + empty + r * w)
        means_s = []
        for seed in range(20):
            arrival_s = np.cumsum(np.random.default_rng(seed).exponential(1 / r, 20_000))
            knobs = {"policy": "window", "batch_timeout_ms": w / MS, "max_batch_size": 4096}
            means_s.append(alone(arrival_s, a, **knobs).mean())
        error_s = np.std(means_s, ddof=1) / np.sqrt(len(means_s))
        assert abs(np.mean(means_s) - expected_s) < 4 * error_s + 1e-6


class TestBounds:
    @settings(max_examples=150, deadline=None)
    @given(
        arrival_s=traces(),
        model=models,
        replicas=st.integers(1, 3),
        knobs=st.fixed_dictionaries(
            {
                "policy": st.sampled_from(["timeout", "window", "adaptive"]),
                "batch_timeout_ms": st.sampled_from([0.0, 2.0, 7.0]),
                "max_batch_size": st.integers(1, 9),
                "in_flight": st.integers(1, 2),
            }
        ),
    )
    def test_no_simulated_run_is_below_them(self, arrival_s, model, replicas, knobs):
        arrival_s = np.array(arrival_s)
        source = ExactSource(model(VirtualClock()), 9)
        run = Setup(BatcherSettings(slo_ms=20.0, **knobs), source, replicas).run(arrival_s)
        latency_s = np.sort(endings(run, arrival_s).ended_s - arrival_s)
        for limit in (None, knobs["max_batch_size"]):
            least = bounds(arrival_s, source, replicas=replicas, max_batch_size=limit)
            assert latency_s.mean() >= least.mean_s * (1 - 1e-9)
            assert (latency_s >= least.latency_s * (1 - 1e-9)).all()

    @settings(max_examples=60, deadline=None)
    @given(
        arrival_s=traces(),
        parts=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3),
        replicas=st.integers(1, 2),
        in_flight=st.integers(1, 2),
    )
    def test_no_run_is_below_them_where_copies_overlap_with_execution(
        self, arrival_s, parts, replicas, in_flight
    ):
        collate_s, execute_s, deliver_s = (part * MS for part in parts)
        samples = tuple(
            BatchSample(0.0, n, None, 0.0, collate_s, execute_s, deliver_s) for n in range(1, 5)
        )
        source = ProfileSource(ServiceProfile(Subject("parts", "cpu"), samples))
        knobs = BatcherSettings(max_batch_size=4, batch_timeout_ms=0.0, in_flight=in_flight)
        run = Setup(knobs, source, replicas).run(arrival_s)
        latency_s = np.sort(endings(run, np.array(arrival_s)).ended_s - arrival_s)
        least = bounds(np.array(arrival_s), source, replicas=replicas)
        assert latency_s.mean() >= least.mean_s * (1 - 1e-9)
        assert (latency_s >= least.latency_s * (1 - 1e-9)).all()

    def test_they_are_reached_where_nothing_has_to_wait(self):
        arrival_s = np.arange(50) * 100 * MS
        source = ExactSource(AffineModel(5 * MS, 1 * MS, VirtualClock()), 8)
        run = Setup(BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0), source).run(
            arrival_s.tolist()
        )
        least = bounds(arrival_s, source)
        assert least.mean_s == pytest.approx(6 * MS)
        assert least.percentile_s(0.99) == pytest.approx(6 * MS)
        assert (endings(run, arrival_s).ended_s - arrival_s).mean() == pytest.approx(6 * MS)

    def test_a_burst_cannot_be_answered_faster_than_capacity_allows(self):
        # 100 at once on one worker that serves at most 1000 a second: the mean is half of 100 ms.
        source = ExactSource(AffineModel(0.0, 1 * MS, VirtualClock()), 8)
        least = bounds(np.zeros(100), source)
        assert least.capacity_rps == pytest.approx(1000.0)
        assert least.mean_s == pytest.approx(50 * MS, rel=0.02)
        assert least.percentile_s(1.0) == pytest.approx(100 * MS)

    def test_the_fluid_backlog_is_lindleys(self):
        arrival_s = np.sort(np.random.default_rng(0).uniform(0.0, 1.0, 500))
        expected, level, before_s = [], 0.0, 0.0
        for at_s in arrival_s:
            level = max(0.0, level - 300.0 * (at_s - before_s)) + 1.0
            before_s = at_s
            expected.append(level)
        np.testing.assert_allclose(fluid_backlog(arrival_s, 300.0), expected, atol=1e-9)


class TestSetup:
    def test_a_batch_beyond_the_profile_is_refused_not_extrapolated(self):
        source = ExactSource(AffineModel(5 * MS, 1 * MS, VirtualClock()), 8)
        with pytest.raises(InputError, match="max_batch_size must be at most 8, the largest"):
            Setup(BatcherSettings(max_batch_size=9), source)

    def test_overheads_delay_what_they_are_of(self):
        service = ExactService(lambda size: 5 * MS)
        policy = make_policy("timeout", PolicyOptions(max_batch_size=2, batch_timeout_s=3 * MS))
        run = simulate(
            [1.0, 2.0, 2.001, 2.002, 2.0021, 3.0],
            policy,
            service,
            overheads=Overheads(
                wake_s=lambda: 0.1 * MS, timer_s=lambda: 0.2 * MS, gap_s=lambda: 0.5 * MS
            ),
        )
        # A timer's lateness; the wake-up by the request that filled it; the gap after a batch; and
        # the last of all, which the end of the trace sends on at once.
        expected_s = [1.0032, 2.0011, 2.0066, 3.0]
        assert list(run.taken_s) == pytest.approx(expected_s)

    def test_equal_seeds_give_equal_runs_and_others_do_not(self):
        times_s = np.random.default_rng(0).gamma(4.0, 1.0 * MS, 400)
        samples = [
            BatchSample(i * 0.01, 1 + i % 16, None, 0.0, 0.0, float(s), 0.0)
            for i, s in enumerate(times_s)
        ]
        source = ProfileSource(ServiceProfile(Subject("noisy", "cpu"), tuple(samples)))
        first, again, other = (list(run_example(source, seed)[0].completed_s) for seed in (1, 1, 2))
        assert first == again
        assert first != other


def poisson_draws(rate_rps):
    return [resolve(load("poisson"), rate_rps=rate_rps, duration_s=10.0, seed=s) for s in (1, 2)]


class TestCapacity:
    source = ExactSource(AffineModel(5 * MS, 1 * MS, VirtualClock()))

    def test_a_full_queue_is_served_in_full_batches(self):
        full = Setup(BatcherSettings(max_batch_size=10, batch_timeout_ms=50.0), self.source)
        assert full.limit_rps() == pytest.approx(10 / 0.015, rel=1e-6)
        window = Setup(
            BatcherSettings(policy="window", max_batch_size=10, batch_timeout_ms=5.0), self.source
        )
        assert window.limit_rps() == pytest.approx(10 / 0.020, rel=1e-6)
        assert Setup(full.knobs, self.source, replicas=3).limit_rps() == pytest.approx(
            3 * full.limit_rps(), rel=0.02
        )

    def test_a_policy_that_gives_up_what_is_late_is_measured_until_then(self):
        knobs = BatcherSettings(policy="deadline", max_batch_size=10, slo_ms=100.0)
        assert Setup(knobs, self.source).limit_rps() == pytest.approx(10 / 0.015, rel=0.03)

    def test_the_boundary_is_bracketed_from_both_sides(self):
        setup = Setup(BatcherSettings(max_batch_size=16, batch_timeout_ms=0.0), self.source)
        found = find_capacity(
            setup, poisson_draws, lambda draws: pooled_percentile_s(draws, 0.99) <= 60 * MS
        )
        assert found.met.rate_rps < found.missed.rate_rps <= 1.01 * found.met.rate_rps
        assert pooled_percentile_s(found.met.outcomes, 0.99) <= 60 * MS
        assert pooled_percentile_s(found.missed.outcomes, 0.99) > 60 * MS
        assert 0.5 * found.limit_rps < found.met.rate_rps < found.limit_rps

    def test_an_objective_beyond_reach_has_no_capacity(self):
        setup = Setup(BatcherSettings(max_batch_size=16, batch_timeout_ms=0.0), self.source)
        found = find_capacity(setup, poisson_draws, lambda draws: False)
        assert found.met is None
        assert len(found.trials) < 8

    def test_an_objective_that_is_always_met_ends_at_the_limit(self):
        setup = Setup(BatcherSettings(max_batch_size=16, batch_timeout_ms=0.0), self.source)
        found = find_capacity(setup, poisson_draws, lambda draws: True)
        assert found.missed is None
        assert found.met.rate_rps == pytest.approx(0.995 * found.limit_rps)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Wait(math.nan), id="until no time at all"),
        pytest.param(Wait(0.0), id="until now"),
        pytest.param(Dispatch(0, 0, "none"), id="a batch of none"),
        pytest.param(Shed(0, 0), id="shedding none"),
    ],
)
def test_a_policy_that_would_be_asked_for_ever_is_refused(answer):
    class Stuck:
        def decide(self, now_s, waiting):
            return answer

        def observe(self, batch):
            pass

    with pytest.raises(BatchingError, match="a policy must"):
        simulate([0.0], Stuck(), ExactService(lambda size: MS))
