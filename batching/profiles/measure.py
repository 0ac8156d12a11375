"""Measuring a service profile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np

from batching.clock import Clock
from batching.errors import (
    BatchExecutionError,
    ConfigError,
    WrongOutputCountError,
    describe,
)
from batching.execution.choose import make_executor
from batching.execution.devices import reserve_batcher_core
from batching.models.contract import Model, Placement
from batching.profiles.callers import Callers
from batching.profiles.memory import MemoryGauge
from batching.profiles.payloads import Payloads
from batching.profiles.plan import (
    LEAST_SAMPLES,
    PILOT_ROUNDS,
    TARGET,
    Cell,
    is_done,
    sizes_up_to,
    visits_a_round,
)
from batching.profiles.profile import ServiceProfile, Stopped
from batching.profiles.rig import BatchTooLargeError, Rig
from batching.profiles.samples import BatchSample
from batching.profiles.subject import subject_of

DEFAULT_MAX_BATCH_SIZE = 128
DEFAULT_BUDGET_S = 20.0
_LARGEST = 65536
# Sizes are added while the budget holds this many rounds of all of them.
_ROUNDS = 2
# Those that are neither powers of two nor halfway between them: while it holds this many, with
# something to spare.
_FINE_ROUNDS = LEAST_SAMPLES + 5
# A batch that takes less than this share of the budget is warmed up twice.
_SHORT = 0.02
# How many times each overhead is measured, in all and in a round, within a share of the budget.
_OVERHEADS, _OVERHEADS_A_ROUND, _OVERHEADS_SHARE = 48, 4, 0.1
# What is sent meanwhile: a share of the highest rate, up to what a sender can keep up with.
_CALLERS_SHARE, _CALLERS_MOST_RPS = 0.5, 5000.0
# An overhead's idle time before, and the hold that its timer is for: from, to.
_IDLE_S, _HOLD_S = (0.5e-3, 5e-3), (0.5e-3, 4e-3)


@dataclass(frozen=True, slots=True)
class Step:
    """Where a measurement is, before its next batch.

    Attributes:
        elapsed_s, budget_s: time taken, and allowed.
        batches: measured so far.
        size: of the next batch.
        largest: the largest size so far.
    """

    elapsed_s: float
    budget_s: float
    batches: int
    size: int
    largest: int


def measure_profile(
    model: Model,
    placement: Placement,
    clock: Clock,
    *,
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
    budget_s: float = DEFAULT_BUDGET_S,
    lengths: Sequence[int] = (),
    seed: int = 0,
    callers: bool = True,
    on_step: Callable[[Step], None] | None = None,
) -> ServiceProfile:
    """Time batches of 1, 2, 3, 4, ... requests on their way through a batcher's worker.

    The model is loaded, then every size is run once or twice unmeasured, the powers of two first,
    then those halfway between them. These are added up to the limit, until memory runs out, until
    the model raises, or until the budget would not hold two rounds of them; after them all others,
    the smallest first, while it would hold enough rounds for 30 samples of each. Then come rounds:
    every size once, in a random order, and after ten such rounds those whose times are spread up to
    eight times as often (`plan`). It ends when every median is certain to 1 % (standard error,
    after at least 30 samples), or when the budget is spent.

    A batch is submitted to an idle worker by the calling thread and waited for. Meanwhile another
    thread sends requests elsewhere, at half of the rate that the fastest size serves: as in a run,
    which no worker has a core and an interpreter to itself in. The garbage collector is the
    caller's to keep quiet.

    An interrupt that comes after every size was measured once ends it early; one that comes before
    is passed on.

    Args:
        model: what is measured.
        placement: where; a model that does not use torch ignores it.
        clock: what it is timed by.
        max_batch_size: the largest size, from 1 to 65536; no larger batch is run.
        budget_s: time for everything but loading, > 0; the first round is finished in any case.
        lengths: for a model of sequences, lengths to measure by themselves, at powers of two.
        seed: of the payloads and of the order, >= 0.
        callers: whether requests go on being sent elsewhere while a batch is measured.
        on_step: called before every batch, in the calling thread.

    Raises:
        ConfigError: an argument is out of its range, or the model has no lengths.
        ModelError: the model cannot be loaded.
        BatchExecutionError: the model raised at the smallest size, at one below another that it
            took, or later.
    """
    if not 1 <= max_batch_size <= _LARGEST:
        raise ConfigError(f"max_batch_size must be from 1 to {_LARGEST}, but got {max_batch_size}")
    if seed < 0:
        raise ConfigError(f"seed must be >= 0, but got {seed}")
    if not (isfinite(budget_s) and budget_s > 0.0):
        raise ConfigError(f"budget_s must be > 0, but got {budget_s:g}")
    if model.uses_torch and not placement.is_cuda:
        # As in a run; and in this thread, which notes down how many threads torch had.
        reserve_batcher_core()
    making, ordering = np.random.default_rng(seed).spawn(2)
    payloads = Payloads(model, lengths, making)
    executor = make_executor(model, placement.for_batches(max_batch_size), clock)
    rig = Rig(executor, max_batch_size, clock)
    cold_start = rig.start()
    # What a model copies by itself to a GPU is not torch's to tell.
    untold = placement.is_cuda and getattr(model, "copies_itself", False)
    gauge = MemoryGauge(placement if model.uses_torch and not untold else None)
    measurement = _Measurement(rig, payloads, clock, budget_s, ordering, gauge, on_step)
    try:
        interrupted = measurement.go(max_batch_size, seed if callers else None)
    finally:
        rig.stop()
    return ServiceProfile(
        subject=subject_of(model, placement),
        samples=tuple(measurement.samples),
        wake_s=tuple(measurement.wake_s),
        timer_s=tuple(measurement.timer_s),
        turn_s=tuple(measurement.turn_s),
        cold_start=replace(
            cold_start,
            first_request_s=measurement.first_s,
            warm_up_s=measurement.warm_up_s,
            sizes=tuple(sorted({size for size, _ in measurement.expected_s})),
        ),
        memory_bytes=measurement.memory_bytes,
        stopped=measurement.stopped,
        stopped_at=measurement.stopped_at,
        refusal=measurement.refusal,
        target=TARGET,
        budget_s=budget_s,
        spent_s=measurement.elapsed_s,
        seed=seed,
        callers_rps=measurement.callers_rps,
        interrupted=interrupted,
    )


class _Measurement:
    """The state of one measurement; `go` carries it out.

    Attributes:
        expected_s: the cells to be measured, and about how long a batch of each takes.
        times_s: what it took, for each of them.
        first_s: the very first batch; `warm_up_s`: all that were not measured.
    """

    def __init__(  # noqa: PLR0917 - private, and built in one place
        self,
        rig: Rig,
        payloads: Payloads,
        clock: Clock,
        budget_s: float,
        rng: np.random.Generator,
        gauge: MemoryGauge,
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self._rig = rig
        self._payloads = payloads
        self._clock = clock
        self._budget_s = budget_s
        self._rng = rng
        self._gauge = gauge
        self._on_step = on_step
        self._start_s = clock.now()
        self.expected_s: dict[Cell, float] = {}
        self.times_s: dict[Cell, list[float]] = {}
        self.samples: list[BatchSample] = []
        self.wake_s: list[float] = []
        self.timer_s: list[float] = []
        self.turn_s: list[float] = []
        self.memory_bytes: dict[int, int] = {}
        self.first_s = self.warm_up_s = 0.0
        self.stopped: Stopped = "limit"
        self.stopped_at = 0
        self.refusal = ""
        self.callers_rps = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the model was loaded."""
        return self._clock.now() - self._start_s

    def go(self, max_batch_size: int, callers_seed: int | None) -> bool:
        """Measure; returns whether it was interrupted, every cell having been measured by then.

        Args:
            max_batch_size: the largest size.
            callers_seed: of the requests that are sent elsewhere meanwhile; None sends none.
        """
        self._warm_up(max_batch_size)
        callers = None
        if callers_seed is not None:
            peak_rps = max(size / max(s, 1e-9) for (size, _), s in self.expected_s.items())
            self.callers_rps = min(_CALLERS_SHARE * peak_rps, _CALLERS_MOST_RPS)
            callers = Callers(self._clock, self.callers_rps, callers_seed)
            callers.start()
        try:
            self._rounds()
        except KeyboardInterrupt:
            if not (all(self.times_s.values()) and self.turn_s):
                raise
            return True
        finally:
            if callers is not None:
                callers.stop()
        return False

    def _rounds(self) -> None:
        visits = dict.fromkeys(self.expected_s, 1)
        some = self._round(visits, in_any_case=True)
        number = 1
        while some and not all(map(is_done, self.times_s.values())):
            if number == PILOT_ROUNDS:
                visits = visits_a_round(self.times_s)
            some = self._round(visits)
            number += 1

    # Warming up: which cells there are.

    def _warm_up(self, max_batch_size: int) -> None:
        self.stopped_at = max_batch_size
        powers, between, others = sizes_up_to(max_batch_size)
        growing: list[int | None] = [None, *self._payloads.lengths]
        for size in powers:
            growing = [length for length in growing if self._add((size, length))]
        largest = max(size for size, length in self.expected_s if length is None)
        for size in between:
            if size < largest and not self._add((size, None)):
                break
        for size in others:
            if size < largest and not self._add((size, None), rounds=_FINE_ROUNDS):
                break
        self.times_s = {cell: [] for cell in self.expected_s}
        self.warm_up_s = self.elapsed_s

    def _add(self, cell: Cell, rounds: int = _ROUNDS) -> bool:
        """Run a cell unmeasured and keep it, if memory allows and the budget holds the rounds."""
        size, length = cell
        known = [(n, s) for (n, of), s in self.expected_s.items() if of == length and n < size]
        if known:
            below, below_s = max(known)
            predicted_s = below_s * size / below
            round_s = sum(self.expected_s.values()) + predicted_s
            if self.elapsed_s + predicted_s + rounds * round_s > self._budget_s:
                self._stop_at(cell, "budget")
                return False
        self._gauge.reset()
        try:
            took_s = self._batch(cell).total_s
            self.first_s = self.first_s or took_s
            if took_s < _SHORT * self._budget_s:
                took_s = self._batch(cell).total_s
        except BatchTooLargeError:
            self._stop_at(cell, "memory")
            self._rig.restart()
            return False
        except BatchExecutionError as error:
            # An engine may have a largest batch. What raises at a smaller one, or does not give a
            # result to each request, is broken.
            broken = isinstance(error.__cause__, WrongOutputCountError)
            if broken or not known or any(n > size for n, of in self.expected_s if of == length):
                raise
            self._stop_at(cell, "refused")
            self.refusal = describe(error.__cause__ or error)
            self._rig.restart()
            return False
        self.expected_s[cell] = took_s
        peak_bytes = self._gauge.peak_bytes()
        if length is None and peak_bytes is not None:
            self.memory_bytes[size] = peak_bytes
        return True

    def _stop_at(self, cell: Cell, why: Stopped) -> None:
        size, length = cell
        if length is None and all(n < size for n, of in self.expected_s if of is None):
            self.stopped, self.stopped_at = why, size

    # Measuring.

    def _round(self, visits: Mapping[Cell, int], *, in_any_case: bool = False) -> bool:
        """Visit cells in a random order; returns False if the budget allowed none of them."""
        end_s = inf if in_any_case else self._budget_s
        steps: list[Cell | None] = [None] * self._overheads_now(end_s - self.elapsed_s)
        left_s = end_s - self.elapsed_s - len(steps) * self._overhead_s
        # Where not all fit, the cheapest do: more sizes are seen again.
        wanted = [cell for cell in self.expected_s for _ in range(visits[cell])]
        for cell in sorted(wanted, key=lambda cell: self.expected_s[cell]):
            left_s -= self.expected_s[cell]
            if left_s > 0.0:
                steps.append(cell)
        self._rng.shuffle(steps)
        some = False
        for step in steps:
            if step is None:
                self._overhead()
            # It may have run out of memory since, or the machine has become slower.
            elif step in self.expected_s and self.elapsed_s + self.expected_s[step] <= end_s:
                self._measure(step)
                some = True
        return some

    @property
    def _overhead_s(self) -> float:
        """About how long `_overhead` takes."""
        return 2 * self.expected_s[1, None] + _IDLE_S[1] + _HOLD_S[1]

    def _overheads_now(self, left_s: float) -> int:
        """How many of the overheads' samples are taken in a round: fewer of a slow model's."""
        fit = int(min(left_s, _OVERHEADS_SHARE * self._budget_s) / self._overhead_s)
        if not self.turn_s:
            fit = max(1, fit)
        return min(_OVERHEADS - len(self.turn_s), _OVERHEADS_A_ROUND, fit)

    def _measure(self, cell: Cell) -> None:
        try:
            sample = self._batch(cell)
        except BatchTooLargeError:
            self._forget(cell)
            return
        self.samples.append(sample)
        self.times_s[cell].append(sample.total_s)
        self.expected_s[cell] = sample.total_s

    def _forget(self, cell: Cell) -> None:
        """Drop what turned out not to fit the memory, and whatever is larger."""
        size, length = cell
        self._rig.restart()
        for other in [(n, of) for n, of in self.expected_s if of == length and n >= size]:
            del self.expected_s[other], self.times_s[other]
        self.samples = [s for s in self.samples if s.length != length or s.size < size]
        self._stop_at(cell, "memory")

    def _batch(self, cell: Cell) -> BatchSample:
        size, length = cell
        self._tell(size)
        record, submitted_s = self._rig.run(self._payloads.draw(cell))
        return BatchSample(
            at_s=_to_ns(record.taken_s - self._start_s),
            size=size,
            length=length,
            wake_s=_to_ns(record.taken_s - submitted_s),
            collate_s=_to_ns(record.staged_s - record.taken_s),
            execute_s=_to_ns(record.completed_s - record.started_s),
            deliver_s=_to_ns(record.delivered_s - record.completed_s),
        )

    def _overhead(self) -> None:
        self._tell(1)
        [payload] = self._payloads.draw((1, None))
        idle_s, hold_s = self._rng.uniform(*_IDLE_S), self._rng.uniform(*_HOLD_S)
        self._clock.sleep_until(self._clock.now() + idle_s)
        overheads_s = self._rig.overheads(payload, float(hold_s))
        for kept, seconds in zip(
            (self.wake_s, self.timer_s, self.turn_s), overheads_s, strict=True
        ):
            kept.append(_to_ns(seconds))

    def _tell(self, size: int) -> None:
        if self._on_step is not None:
            largest = max((n for n, of in self.expected_s if of is None), default=1)
            step = Step(self.elapsed_s, self._budget_s, len(self.samples), size, largest)
            self._on_step(step)


def _to_ns(seconds: float) -> float:
    """Rounded to what the clock resolves; what digits follow come from subtracting."""
    return round(max(0.0, seconds), 9)
