"""The contract between a batching policy and whatever asks it: the live batcher or the simulator.

A policy is a pure decision. It is asked only when a worker is free and something waits, and it
answers from `now_s` and what is waiting alone: it reads no clock, sleeps nowhere and does no I/O.
It is asked again when a `Wait` runs out (by time or by weight), on cancel, expiry, drain, a changed
setting, or an arrival in a lane of higher priority; never once an arrival.

What every policy promises, and `tests/batching/test_policies.py` checks of each:

- It never takes more than waits in the lane, nor more than its limit.
- A `Wait` is not over yet: `until_s` lies ahead, and no lane weighs `until_weight` already.
- Asked at its own `until_s` it dispatches or sheds.
- `decide` changes nothing: whatever is asked in between, the same question gets the same answer
  until the next `observe`.
- While draining, with slot "now", it does not wait. With slot "ahead" it dispatches only what is
  full for its limit of the moment.
- `observe` takes any sequence of finished batches.

Of several lanes, a lane of lower priority, be it full, never goes before one of higher priority
that is ready: full, or held long enough. It may go before one that is not ready yet, since a free
worker need not idle for it (`window`, which has one window for all, does wait). Within one priority
`timeout` and `adaptive` take a full lane first, then the one whose head is the oldest; `deadline`
takes the one that has to start first, and `window` the one whose head is the oldest.

No policy has to see to it that nobody starves: once the oldest request of a lane has waited
`max_starvation_ms`, and the policy would take another lane, whoever asks takes the next batch from
the lane that starves longest, and asks the policy only how many of it go.

Nobody changes a question or an answer. They are not frozen all the same: several are made for
every batch, and a frozen dataclass takes several times as long to make.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from batching.errors import BatchingError

Slot = Literal["now", "ahead"]


@dataclass(slots=True)
class Lane:
    """Requests that may share a batch (one shape class, one priority), oldest first.

    Attributes:
        count: how many wait here; at least 1.
        weight: the sum of their weights; a request weighs 1, or its tokens under a token budget.
        oldest_s: when the oldest was enqueued.
        earliest_deadline_s: the first deadline among them; infinity where none has one.
        priority: higher goes first.
    """

    count: int
    weight: int
    oldest_s: float
    earliest_deadline_s: float = float("inf")
    priority: int = 0


@dataclass(slots=True)
class Waiting:
    """What a policy sees when a worker asks.

    Attributes:
        lanes: the lanes that are not empty; at least one.
        free_since_s: when the asking worker last became free.
        worker: index of the asking worker.
        slot: "now" if the device is idle for this batch; "ahead" if a batch is still running and
            this one would be prepared behind it: then only a full batch may go, since a partial
            one can still grow.
        draining: no further request will come, so waiting gains nothing.
    """

    lanes: Sequence[Lane]
    free_since_s: float
    worker: int = 0
    slot: Slot = "now"
    draining: bool = False


@dataclass(slots=True)
class Dispatch:
    """Run the `count` oldest requests of lane number `lane` now, for the stated reason."""

    lane: int
    count: int
    reason: str


@dataclass(slots=True)
class Wait:
    """Ask again at `until_s`, or once a lane weighs `until_weight`, whichever is first."""

    until_s: float
    until_weight: float = float("inf")


@dataclass(slots=True)
class Shed:
    """End the `count` oldest requests of lane number `lane` now as expired: they are hopeless."""

    lane: int
    count: int


Decision = Dispatch | Wait | Shed


def check_decision(decision: Decision, now_s: float) -> None:
    """Refuse what would be asked again for ever.

    Raises:
        BatchingError: a wait that is over at `now_s` already, or a batch or a shedding of nothing.
    """
    if isinstance(decision, Wait):
        if not decision.until_s > now_s:  # NaN too
            raise BatchingError(
                f"a policy must wait until a time after now, {now_s}, but got {decision}"
            )
    elif not decision.count >= 1:
        raise BatchingError(f"a policy must take or shed at least 1, but got {decision}")


@dataclass(slots=True)
class FinishedBatch:
    """Feedback for adaptive policies: one batch that has run. Times in seconds of the clock."""

    worker: int
    size: int
    weight: int
    oldest_s: float
    taken_s: float
    completed_s: float
    ok: bool


class BatchingPolicy(Protocol):
    """Decides when a free worker takes a batch, and how large."""

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """Say what the asking worker does now.

        A policy that waits for a moment compares with the very expression it returned as
        `until_s`, so that being asked at that moment settles it: a rearranged comparison can
        differ in the last bit and ask for ever.
        """
        ...

    def observe(self, batch: FinishedBatch) -> None:
        """Learn from a batch that has run; called in completion order."""
        ...


def oldest_lane(lanes: Sequence[Lane]) -> int:
    """Index of the lane whose head has waited longest among those of the highest priority."""
    if len(lanes) == 1:
        return 0
    return min(range(len(lanes)), key=lambda i: (-lanes[i].priority, lanes[i].oldest_s))
