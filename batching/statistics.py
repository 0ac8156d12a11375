"""Counts of a running batcher."""

from collections.abc import Sequence
from dataclasses import dataclass

from batching.queueing.core import Core


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot, taken at one instant.

    submitted = ok + rejected + expired + failed + cancelled + queue_depth + in_flight.

    Attributes:
        queue_depth: requests that wait, for a batch or for a retry.
        in_flight: requests that a worker has in hand.
        batches: batches taken so far.
        healthy_replicas: workers that return from their batches.
        size_limits: the largest batch that fits each worker's memory, as far as is known.
        uncaptured_batches: with the engine cudagraph, batches that ran eagerly because their shape
            was not captured, warm-up included.
    """

    submitted: int
    ok: int
    rejected: int
    expired: int
    failed: int
    cancelled: int
    queue_depth: int
    in_flight: int
    batches: int
    healthy_replicas: int
    size_limits: tuple[int, ...]
    uncaptured_batches: int = 0


def snapshot(core: Core, size_limits: Sequence[int], uncaptured_batches: int) -> Statistics:
    """The counts as they stand."""
    with core.guard:
        ended, waiting, in_hand = dict(core.ended), len(core.waiting), core.in_hand
        return Statistics(
            submitted=sum(ended.values()) + waiting + in_hand,
            **ended,
            queue_depth=waiting,
            in_flight=in_hand,
            batches=core.batches,
            healthy_replicas=sum(core.healthy),
            size_limits=tuple(size_limits),
            uncaptured_batches=uncaptured_batches,
        )
