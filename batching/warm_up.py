"""Warming up: every batch shape is run before the first request meets it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

from batching.core import Core
from batching.execution import Executor
from batching.models.contract import sample_payloads
from batching.request import BatchRecord


@dataclass(frozen=True, slots=True)
class ColdStart:
    """What it took before the first request could be served well; seconds, nan if not done.

    Attributes:
        load_s: building the model and moving it to the device.
        first_request_s: the first execution of all: what a request would have met.
        warm_up_s: running every batch size once.
        sizes: the batch sizes that were run.
        engine_s: capturing graphs, or compiling; None where there was nothing to make.
        engine_bytes: device memory that the captured graphs take; None where there are none.
    """

    load_s: float = nan
    first_request_s: float = nan
    warm_up_s: float = nan
    sizes: tuple[int, ...] = ()
    engine_s: float | None = None
    engine_bytes: int | None = None

    @property
    def total_s(self) -> float:
        """Time until requests were accepted; what was not done took none."""
        parts = (self.load_s, self.engine_s, self.warm_up_s)
        return sum(part for part in parts if part and not isnan(part))


def loaded(executor: Executor) -> ColdStart:
    """What preparing an executor took."""
    return ColdStart(
        load_s=executor.load_s, engine_s=executor.engine_s, engine_bytes=executor.engine_bytes
    )


def warm_up(executor: Executor, core: Core, worker: int, budget_s: float) -> ColdStart:
    """Run every batch size once, within a budget of time; the model is loaded.

    The order is 1, the largest, then powers of two, then the rest, so that a slow model that
    exhausts the budget has met the sizes that matter. A power of two is run once more for the
    policy to learn from: the first batch of a shape takes longer than any later one.
    """
    now = core.clock.now
    try:
        payloads = sample_payloads(executor.model) if budget_s > 0.0 else []
    except NotImplementedError:
        payloads = []  # a plain function: only its callers know what an input looks like
    if not payloads:
        return loaded(executor)
    began_s = now()
    done: list[int] = []
    for size in sizes_in_order(core.max_batch_size):
        if now() - began_s > budget_s:
            break
        for payload in payloads:
            executor.execute([payload] * size, BatchRecord(size=size))
        done.append(size)
        if size & (size - 1) == 0 and now() - began_s < budget_s / 2:
            _teach(executor, core, worker, [payloads[-1]] * size)
    return replace(
        loaded(executor),
        first_request_s=executor.first_execution_s,
        warm_up_s=now() - began_s,
        sizes=tuple(sorted(done)),
    )


def _teach(executor: Executor, core: Core, worker: int, payloads: Sequence[Any]) -> None:
    now_s = core.clock.now()
    record = BatchRecord(worker=worker, size=len(payloads), oldest_s=now_s, taken_s=now_s)
    executor.execute(payloads, record)
    with core.guard:
        core.policy.observe(record.feedback())


def sizes_in_order(max_batch_size: int) -> list[int]:
    """Every batch size once: 1, the largest, the powers of two, then the rest."""
    powers = [2**i for i in range(1, max_batch_size.bit_length())]
    return list(dict.fromkeys([1, max_batch_size, *powers, *range(1, max_batch_size + 1)]))
