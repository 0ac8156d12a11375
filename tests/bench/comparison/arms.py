"""Arms that answer at once: simulated queues on a machine with noise, drift and slow phases."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from batching.policies import PolicyOptions, make_policy
from bench.simulation import Simulation, simulate
from bench.simulation.outcome import simulation_logs
from results.run.logs import RunLogs
from results.run.metrics import compute_metrics
from results.run.record import Run, RunRecord
from results.run.validity import Evidence, FindingCode, check
from workloads import ResolvedTrace, load, resolve_draws


@dataclass(frozen=True)
class Rough:
    """An affine model on a machine that is not calm.

    Batches take (base_s + per_request_s * n) x scale x exp(noise * z), and more where the machine
    is slow: one slow phase in expectation every `calm_batches` batches, `slow` times as long, for
    some 200 batches; and a drift over the run of up to +-`drift`.
    """

    base_s: float = 0.004
    per_request_s: float = 0.0002
    scale: float = 1.0
    noise: float = 0.05
    drift: float = 0.02
    slow: float = 1.3
    calm_batches: float = 2000.0

    def service(self, seed) -> "_Draws":
        return _Draws(self, np.random.default_rng(seed))


class _Draws:
    """One run's batch times."""

    def __init__(self, rough: Rough, rng: np.random.Generator, batches: int = 1 << 13) -> None:
        factors = rough.scale * np.exp(rough.noise * rng.standard_normal(batches))
        factors *= 1.0 + rng.uniform(-rough.drift, rough.drift) * np.linspace(-1.0, 1.0, batches)
        for start in np.flatnonzero(rng.random(batches) < 1.0 / rough.calm_batches):
            factors[start : start + rng.geometric(1.0 / 200.0)] *= rough.slow
        self._factors = factors.tolist()
        self._rough = rough
        self._next = 0

    def next(self, size: int) -> tuple[float, float, float]:
        factor = self._factors[self._next % len(self._factors)]
        self._next += 1
        return 0.0, (self._rough.base_s + self._rough.per_request_s * size) * factor, 0.0


@dataclass(frozen=True)
class SimulatedArm:
    """What a simulated arm is: a machine and the batcher's knobs."""

    rough: Rough = Rough()
    max_batch_size: int = 32
    timeout_s: float = 0.002

    def simulation(self, arrival_s, seed) -> Simulation:
        options = PolicyOptions(max_batch_size=self.max_batch_size, batch_timeout_s=self.timeout_s)
        policy = make_policy("timeout", options)
        return simulate(arrival_s.tolist(), policy, self.rough.service(seed))

    def logs(self, arrival_s, seed) -> RunLogs:
        return simulation_logs(self.simulation(arrival_s, seed), arrival_s, self.max_batch_size)


def run_simulated(seed: int = 0) -> Callable[[SimulatedArm, ResolvedTrace, Path], Run]:
    """What `compare_arms` takes; every run draws its own batch times."""
    streams = iter(np.random.SeedSequence(seed).spawn(10_000))

    def run(arm: SimulatedArm, arrivals: ResolvedTrace, folder: Path) -> Run:
        logs = arm.logs(arrivals.trace.arrival_s, next(streams)).validated()
        metrics = compute_metrics(logs, arrivals.window_s, replicas=1)
        findings = check(Evidence(logs, metrics, arrivals.window_s))
        record = RunRecord(
            id=folder.name,
            kind="simulation",
            window_s=arrivals.window_s,
            trace=arrivals.describe(),
            metrics=metrics,
            valid=not findings,
            findings=tuple(f for f in findings if f.code != FindingCode.TOO_FEW_REQUESTS),
        )
        return Run(folder, record, logs)

    return run


def simulated_draws(count, *, rate_rps=400.0, seconds=5.0, seed=0, trace="bursty.json"):
    return resolve_draws(
        load(trace), count, rate_rps=rate_rps, duration_s=seconds, tail_s=0.25, seed=seed
    )


def slower(arm: SimulatedArm, times: float) -> SimulatedArm:
    return replace(arm, rough=replace(arm.rough, scale=times))
