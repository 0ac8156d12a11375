"""What a simulation leaves behind, by batch and by range of requests."""

from array import array
from dataclasses import dataclass, field
from typing import Any

# An array of the standard library that grows, or one of numpy: of both, what is asked is alike.
Column = Any


@dataclass(slots=True)
class Simulation:
    """What happened; times in seconds of the trace.

    Columns are buffers of int16 (worker), int32 (size), int64 (first, accepted) and float64.

    Attributes:
        accepted: index of each request that was let in; None means all were.
        rejected: (first, stop) ranges of requests that found the queue full.
        expired: (first, stop, at_s): ranges of accepted requests that ended as expired.
        worker, size, reason, oldest_s, taken_s, staged_s, started_s, completed_s, delivered_s,
            freed_s: of each batch, in order of being taken; see `batching.BatchRecord`.
        first: the first member of each batch, counted among the accepted.
    """

    accepted: Column | None = None
    rejected: list[tuple[int, int]] = field(default_factory=list)
    expired: list[tuple[int, int, float]] = field(default_factory=list)
    worker: Column = field(default_factory=lambda: array("h"))
    size: Column = field(default_factory=lambda: array("i"))
    first: Column = field(default_factory=lambda: array("q"))
    reason: Column = field(default_factory=list)
    oldest_s: Column = field(default_factory=lambda: array("d"))
    taken_s: Column = field(default_factory=lambda: array("d"))
    staged_s: Column = field(default_factory=lambda: array("d"))
    started_s: Column = field(default_factory=lambda: array("d"))
    completed_s: Column = field(default_factory=lambda: array("d"))
    delivered_s: Column = field(default_factory=lambda: array("d"))
    freed_s: Column = field(default_factory=lambda: array("d"))
