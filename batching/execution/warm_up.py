"""Warming up: every batch shape is run before the first request meets it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from batching import user_code
from batching.execution.executor import Executor
from batching.models.contract import Placement, sample_payloads
from batching.queueing.core import Core
from batching.request import BatchRecord

if TYPE_CHECKING:
    from batching.workers.worker import Slot


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


def warm_up(slot: "Slot", budget_s: float) -> ColdStart | None:
    """Load a slot's model and run the batch sizes it may meet, within a budget of time.

    Called in the slot's own thread. What the first slot of a worker does is what a start takes. A
    further one, once that is done, runs the same sizes where the libraries of the device keep what
    they have chosen for a shape by thread, as cuDNN's plans are (aten/src/ATen/native/cudnn): each
    size would otherwise stall again at its first batch there. Its own is None.

    The order is 1, the largest, then powers of two, then the rest, so that a slow model that
    exhausts the budget has met the sizes that matter. A power of two is run once more for the
    policy to learn from: the first batch of a shape takes longer than any later one.
    """
    worker, executor = slot.worker, slot.executor
    first, *others = worker.slots
    if slot is not first:
        executor.prepare()
        if _chooses_by_thread(executor.placement):
            while not worker.warm:
                slot.waiter.wait(None)
            _run_sizes(executor, worker.core, budget_s)
        return None
    try:
        executor.prepare()
        began_s = worker.core.clock.now()
        sizes = _run_sizes(executor, worker.core, budget_s, teach=worker.index)
        if not sizes:
            return loaded(executor)
        return replace(
            loaded(executor),
            first_request_s=executor.first_execution_s,
            warm_up_s=worker.core.clock.now() - began_s,
            sizes=tuple(sorted(sizes)),
        )
    finally:
        worker.warm = True
        for other in others:
            other.waiter.wake()


def _chooses_by_thread(placement: Placement) -> bool:
    """Not so a graph: what is replayed was chosen as it was captured."""
    return placement.is_cuda and placement.engine != "cudagraph"


def _run_sizes(
    executor: Executor, core: Core, budget_s: float, *, teach: int | None = None
) -> list[int]:
    """Run the sizes in order, and have the policy learn from them as worker `teach`'s."""
    now = core.clock.now
    try:
        payloads = sample_payloads(executor.model) if budget_s > 0.0 else []
    except NotImplementedError:
        payloads = []  # a plain function: only its callers know what an input looks like
    if not payloads:
        return []
    began_s = now()
    done: list[int] = []
    for size in sizes_in_order(core.max_batch_size, executor.placement.captured_sizes):
        if now() - began_s > budget_s:
            break
        for payload in payloads:
            executor.execute([payload] * size, BatchRecord(size=size))
        done.append(size)
        if teach is not None and size & (size - 1) == 0 and now() - began_s < budget_s / 2:
            _teach(executor, core, teach, [payloads[-1]] * size)
    return done


def _teach(executor: Executor, core: Core, worker: int, payloads: Sequence[Any]) -> None:
    now_s = core.clock.now()
    record = BatchRecord(worker=worker, size=len(payloads), oldest_s=now_s, taken_s=now_s)
    executor.execute(payloads, record)
    with core.guard:
        user_code.call("the policy's observe", core.policy.observe, record.feedback())


def sizes_in_order(max_batch_size: int, captured: Sequence[int] = ()) -> list[int]:
    """What is to be run once: 1, the largest, the powers of two, then the rest.

    Args:
        max_batch_size: the largest.
        captured: the sizes that batches are padded to, increasing, up to the last of them: one
            batch of each runs all that is run for the sizes below it.
    """
    powers = [2**i for i in range(1, max_batch_size.bit_length())]
    every = dict.fromkeys([1, max_batch_size, *powers, *range(1, max_batch_size + 1)])
    if not captured:
        return list(every)
    once = {min(size, max_batch_size) for size in captured}
    return [size for size in every if size in once or size > captured[-1]]
