"""The state that a batcher's callers and its worker share, kept bare: it is the hot path."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from batching.clock import Clock, Waiter
from batching.policies import BatchingPolicy
from batching.request import BatchRecord, Request

BatchObserver = Callable[[BatchRecord, Sequence[Request]], None]


@dataclass(slots=True)
class Core:
    """One lane of waiting requests, and when its worker wants to be woken.

    Adding a request takes no lock: `deque.append` is atomic, and the order "append, then read
    `wake_at`" on one side, "write `wake_at`, then read the length" on the other, makes it
    impossible for both to miss each other. A needless wake-up is possible and harmless. Removing
    one is done under `guard`, which the worker takes once a batch.

    Attributes:
        queue: waiting requests, oldest first.
        wake_at: the number waiting at which the worker is to be woken; infinite while it works.
        draining: no further request is accepted, and the worker ends once none is left.
        abandoned: those that still wait are to be cancelled instead of run.
        taken: requests that have left the queue.
        ended: of those, how many have ended, by status.
    """

    clock: Clock
    policy: BatchingPolicy
    max_batch_size: int
    waiter: Waiter
    observer: BatchObserver | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)
    queue: "deque[Request]" = field(default_factory=deque)
    wake_at: float = inf
    accepting: bool = False
    draining: bool = False
    abandoned: bool = False
    taken: int = 0
    batches: int = 0
    ended: dict[str, int] = field(
        default_factory=lambda: {"ok": 0, "expired": 0, "failed": 0, "cancelled": 0}
    )
