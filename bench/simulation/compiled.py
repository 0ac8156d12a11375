"""When a simulation is served by compiled code, and how.

Compiling takes seconds the first time and reading what was compiled some tenths of one, so it pays
only once a process has much to simulate. `DYNBATCH_COMPILED` decides it otherwise: `no` or
`always`.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batching.policies import BatchingPolicy, TimeoutPolicy, WindowPolicy
from batching.profiles.draws import Series, ServiceDraws
from bench.profiling.service_times import ExactService, Overheads, Service
from bench.simulation.record import Simulation

SWITCH = "DYNBATCH_COMPILED"
# The other engine serves as many in about a second, more than reading the compiled code takes.
_PAYS_FROM = 1_000_000
_REASONS = np.array(["full", "drain", "preferred", "timeout", "window"], dtype=object)
_NONE = np.empty(0)
# How much is drawn of each series at first, and room for so many batches.
_FEWEST, _MEAN_BATCH = 1000, 8
_simulated = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the batcher; see `bench.simulation.simulate`."""

    replicas: int = 1
    in_flight: int = 1
    max_queue_size: int | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A policy and batch times that compiled code knows."""

    policy: TimeoutPolicy | WindowPolicy
    service: ExactService | ServiceDraws


def case_of(policy: BatchingPolicy, service: Service, overheads: Overheads) -> Case | None:
    """The case, if it is one of those that are known; by exact type, as a subclass may differ."""
    if type(policy) is not TimeoutPolicy and type(policy) is not WindowPolicy:
        return None
    if type(service) is ExactService:
        known = overheads == Overheads()
    elif type(service) is ServiceDraws:
        known = overheads == Overheads(service.wake, service.timer, service.turn)
    else:
        return None
    return Case(policy, service) if known else None


def pays(requests: int) -> bool:
    """Whether it is worth it by now, with so many requests more."""
    global _simulated  # noqa: PLW0603 - of this process
    _simulated += requests
    switch = os.environ.get(SWITCH, "")
    wanted = switch == "always" or (switch != "no" and _simulated > _PAYS_FROM)
    return wanted and requests > 0 and _there()


@cache
def _there() -> bool:
    return importlib.util.find_spec("numba") is not None


def serve(arrival_s: NDArray[np.float64], case: Case, limits: Limits) -> Simulation:
    """Serve a trace to its last request; equal to `simulate_plainly` to the last bit.

    Args:
        arrival_s: when requests arrive, `[N]`, N >= 1, non-decreasing.
        case: a policy, and batch times of which none were drawn yet.
        limits: of the batcher.
    """
    from bench.simulation import kernel

    policy = case.policy
    if isinstance(policy, TimeoutPolicy):
        kind, knobs = kernel.TIMEOUT, (policy.timeout_s, policy.min_wait_s, policy.preferred)
    else:
        kind, knobs = kernel.WINDOW, (policy.window_s, 0.0, ())
    timeout_s, min_wait_s, preferred = knobs
    table, series = _times(case.service, policy.limit)
    length = _FEWEST + len(arrival_s) // _MEAN_BATCH
    arrivals = np.require(arrival_s, np.float64, ["C", "W"])  # one type, so compiled once
    while True:
        drawn = [one.first(length) for one in series] or [_NONE] * 4
        done, *found = kernel.serve(
            arrivals,
            length,
            kind,
            policy.limit,
            timeout_s,
            min_wait_s,
            np.array(preferred, dtype=np.int64),
            limits.replicas,
            limits.in_flight,
            -1 if limits.max_queue_size is None else limits.max_queue_size,
            inf if limits.deadline_s is None else limits.deadline_s,
            *table,
            *drawn,
        )
        if done < 0:
            return _simulation(found, limited=limits.max_queue_size is not None)
        # Again from the start, which costs less than to stop and go on.
        del found
        length += max(length // 4, int(1.1 * length * (len(arrivals) / max(1, done) - 1.0)))


def _times(
    service: ExactService | ServiceDraws, largest: int
) -> tuple[tuple[Any, ...], Sequence[Series]]:
    """Batch times of every size up to the largest as rows, and what is drawn of them."""
    if isinstance(service, ServiceDraws):
        return service.curve.table, service.series
    rows = [(0.0, 0.0, 0.0), *(service.next(size) for size in range(1, largest + 1))]
    return (np.arange(largest + 1), np.ones(largest + 1, np.int64), np.array(rows)), ()


def _simulation(found: Sequence[Any], *, limited: bool) -> Simulation:
    """What the compiled code found, as the other engine gives it."""
    whole, times, batches, accepted, rejected, expired, expired_s = found
    worker, size, first, reason = whole[:, :batches]
    return Simulation(
        accepted if limited else None,
        list(map(tuple, rejected.tolist())),
        list(zip(*expired.T.tolist(), expired_s[:, 0].tolist(), strict=True)),
        worker.astype(np.int16),
        size.astype(np.int32),
        first,
        _REASONS[reason],
        *times[:, :batches],
    )
