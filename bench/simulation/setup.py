"""From the settings of a run to its simulation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batching.policies import (
    BatchingPolicy,
    PolicyOptions,
    TimeoutPolicy,
    WindowPolicy,
    make_policy,
)
from batching.policies.contract import FinishedBatch
from bench.errors import InputError
from bench.profiling.service_times import Source
from bench.settings import BatcherSettings
from bench.simulation.engine import simulate
from bench.simulation.outcome import Outcome, outcome
from bench.simulation.record import Simulation
from workloads import ResolvedTrace

Floats = NDArray[np.float64]
FULL_BATCHES = 60
NEVER_S = 1e9


@dataclass(frozen=True)
class Setup:
    """A batcher that is to be simulated.

    Raises:
        InputError: a batch larger than the source knows the time of.
        ConfigError: a knob out of its range.
    """

    knobs: BatcherSettings
    source: Source
    replicas: int = 1

    def __post_init__(self) -> None:
        if self.knobs.max_batch_size > self.source.max_batch_size:
            raise InputError(
                f"max_batch_size must be at most {self.source.max_batch_size}, the largest batch "
                f"that was profiled, but got {self.knobs.max_batch_size}"
            )
        self.policy()

    def policy(self) -> BatchingPolicy:
        """A fresh policy that has learned nothing."""
        knobs = self.knobs
        return make_policy(
            knobs.policy,
            PolicyOptions(
                max_batch_size=knobs.max_batch_size,
                batch_timeout_s=knobs.batch_timeout_ms / 1e3,
                min_wait_s=knobs.min_wait_ms / 1e3,
                preferred_batch_sizes=knobs.preferred_batch_sizes,
                slo_s=None if knobs.slo_ms is None else knobs.slo_ms / 1e3,
            ),
        )

    def run(self, arrival_s: Floats, seed: int = 0) -> Simulation:
        """Serve these arrivals, with the service times of that seed."""
        service, overheads = self.source.draw(seed)
        policy = self._taught_policy(seed)
        deadline_ms = self.knobs.deadline_ms
        return simulate(
            arrival_s,
            policy,
            service,
            replicas=self.replicas,
            in_flight=self.knobs.in_flight,
            max_queue_size=self.knobs.max_queue_size,
            deadline_s=None if deadline_ms is None else deadline_ms / 1e3,
            overheads=overheads,
        )

    def limit_rps(self, seed: int = 0) -> float:
        """What this batcher serves with a queue that never empties, requests per second.

        Measured, not computed: what a policy makes of a full queue is its own affair (`window`
        waits all the same). A load above it cannot be carried, whatever the arrivals.
        """
        requests = FULL_BATCHES * self.knobs.max_batch_size * self.replicas * self.knobs.in_flight
        service, overheads = self.source.draw(seed)
        policy = self._taught_policy(seed)
        run = simulate(
            # All at once, and one at the very end of time, so that it does not drain.
            np.array([0.0] * requests + [NEVER_S]),
            policy,
            service,
            replicas=self.replicas,
            in_flight=self.knobs.in_flight,
            overheads=overheads,
        )
        freed_s = np.asarray(run.freed_s)
        early = freed_s < NEVER_S
        if not early.any():
            return 0.0  # a policy that gives everything up
        return float(np.asarray(run.size)[early].sum() / freed_s[early].max())

    def outcome(self, arrivals: ResolvedTrace, seed: int = 0) -> Outcome:
        """Serve a trace and give its numbers.

        Args:
            arrivals: the trace.
            seed: of the service times.
        """
        times_s = arrivals.trace.arrival_s
        return outcome(self.run(times_s, seed), times_s, arrivals.window_s, replicas=self.replicas)

    def _taught_policy(self, seed: int) -> BatchingPolicy:
        """One that knows what it learns while a live batcher warms up: each power of two.

        The batches run one after the other and before the first arrival, at negative times: those
        of batches that overlap on one worker would be read as one waiting for the other.
        """
        policy = self.policy()
        if type(policy) in {TimeoutPolicy, WindowPolicy}:  # which learn nothing
            return policy
        service, _ = self.source.draw(seed)
        sizes = [2**i for i in range(self.knobs.max_batch_size.bit_length())]
        seconds = [sum(service.next(size)[:2]) for size in sizes]
        ends_s = np.cumsum(seconds) - sum(seconds)
        for size, batch_s, end_s in zip(sizes, seconds, ends_s.tolist(), strict=True):
            begun_s = end_s - batch_s
            policy.observe(FinishedBatch(0, size, size, begun_s, begun_s, end_s, True))
        return policy
