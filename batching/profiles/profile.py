"""How long a model takes for a batch of each size: what simulations and estimates start from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from batching.errors import ProfileError
from batching.execution.warm_up import ColdStart
from batching.models.contract import Placement
from batching.profiles.curve import Curve, Parts
from batching.profiles.draws import ServiceDraws, block_length
from batching.profiles.samples import BatchSample, relative_error
from batching.profiles.subject import Subject, subject_of

KNEE = 0.9

Stopped = Literal["limit", "memory", "budget", "refused"]


@dataclass(frozen=True)
class ServiceProfile:
    """Measured batches of one model on one device, and what follows from them.

    T(b) is the time that a worker is occupied by a batch of b: collated, executed, handed back.
    Queries are of requests as the model makes them, unless they take a `length`.

    Attributes:
        subject: what was measured.
        samples: every measured batch, in the order of measurement.
        wake_s: from a lone arrival, after some idle ms, until the worker looked.
        timer_s: how late a worker was that waited for a moment.
        turn_s: from a batch's delivery until the next was taken, one being ready.
        cold_start: loading, the first batch of all, running every size once.
        memory_bytes: size -> peak memory by then: of the GPU's allocator during that size, or on
            the CPU of the whole process so far. Empty where it was not measured.
        stopped: why there is no larger size: it was the limit asked for, the next one ran out of
            memory, it would not have fitted the budget, or the model raised at it ("refused").
        stopped_at: the limit, or the size that was not measured.
        refusal: what the model raised then; empty if it did not.
        target: the relative standard error of each median that was aimed at.
        budget_s, spent_s: time allowed and time taken, without loading.
        seed: of the payloads and of the order of the batches.
        callers_rps: requests a second that were sent elsewhere meanwhile, as in a run.
        interrupted: it was ended early, with every size measured at least once.
        created: when, as UTC in ISO 8601.

    Raises:
        ProfileError: size 1 was not measured, an overhead was not, or a batch took no time.
    """

    subject: Subject
    samples: tuple[BatchSample, ...]
    wake_s: tuple[float, ...] = (0.0,)
    timer_s: tuple[float, ...] = (0.0,)
    turn_s: tuple[float, ...] = (0.0,)
    cold_start: ColdStart = field(default_factory=ColdStart)
    memory_bytes: Mapping[int, int] = field(default_factory=dict)
    stopped: Stopped = "limit"
    stopped_at: int = 0
    refusal: str = ""
    target: float = 0.01
    budget_s: float = 0.0
    spent_s: float = 0.0
    seed: int = 0
    callers_rps: float = 0.0
    interrupted: bool = False
    created: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), compare=False
    )

    def __post_init__(self) -> None:
        if not all((self.wake_s, self.timer_s, self.turn_s)):
            raise ProfileError("a profile must have wake, timer and turn samples, but one has none")
        for length in (None, *self.lengths):
            if not any(s.size == 1 and s.length == length for s in self.samples):
                raise ProfileError("a profile must have measured batch size 1, but did not")
        if any(s.size < 1 or s.total_s <= 0.0 for s in self.samples):
            raise ProfileError("a batch must have requests and take time, but one has not")

    @classmethod
    def exact(cls, time_s: Callable[[int], float], max_batch_size: int, subject: Subject) -> Self:
        """The profile of a worker that takes exactly `time_s(b)` and has no overhead."""
        samples = tuple(
            BatchSample(0.0, size, None, 0.0, 0.0, time_s(size), 0.0)
            for size in range(1, max_batch_size + 1)
        )
        return cls(subject, samples, stopped_at=max_batch_size)

    @classmethod
    def of_model(cls, model: Any, max_batch_size: int) -> Self:
        """The exact profile of a synthetic model, which states its times.

        Raises:
            ProfileError: the model does not.
        """
        time_s = getattr(model, "batch_s", None)
        if time_s is None:
            raise ProfileError(
                f"the model must be synthetic, to know its times unmeasured, but got {model.name!r}"
            )
        return cls.exact(time_s, max_batch_size, subject_of(model, Placement()))

    # T(b).

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that were measured by themselves; empty for a model without."""
        return tuple(sorted({s.length for s in self.samples if s.length is not None}))

    @cached_property
    def _curves(self) -> dict[int | None, Curve]:
        return {
            length: Curve(s for s in self.samples if s.length == length)
            for length in (None, *self.lengths)
        }

    def curve(self, length: int | None = None) -> Curve:
        """T(b) of requests as the model makes them, or all of one measured length.

        Raises:
            ProfileError: that length was not measured.
        """
        if length not in self._curves:
            known = ", ".join(map(str, self.lengths)) or "none"
            raise ProfileError(f"length must be one of those profiled, {known}, but got {length}")
        return self._curves[length]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that were measured."""
        return self.curve().sizes

    @property
    def max_batch_size(self) -> int:
        """The largest size it knows; larger ones are refused, not extrapolated."""
        return self.curve().largest

    def total_s(self, size: int, length: int | None = None) -> float:
        """T(size): the median, falling with the size only where that is certain; seconds.

        Args:
            size: from 1 to `max_batch_size`.
            length: the padded length; between measured lengths T is linear. None: requests as the
                model makes them.

        Raises:
            ProfileError: the size or the length is outside of what was measured.
        """
        if length is None or length in self._curves:
            return self.curve(length).total_s(size)
        if not (self.lengths and self.lengths[0] <= length <= self.lengths[-1]):
            known = f"from {self.lengths[0]} to {self.lengths[-1]}" if self.lengths else "left out"
            raise ProfileError(f"length must be {known}, as profiled, but got {length}")
        times_s = np.maximum.accumulate([self.total_s(size, known) for known in self.lengths])
        return float(np.interp(length, self.lengths, times_s))

    def parts_s(self, size: int) -> Parts:
        """T(size) by its parts."""
        return self.curve().parts_s(size)

    def quantile_s(self, size: int, q: float) -> float:
        """The q quantile of a batch's time, seconds."""
        return self.curve().quantile_s(size, q)

    def error(self, size: int) -> float:
        """Relative standard error of a measured size's median; infinite below 8 samples.

        0 for an exact profile, whose single sample is no measurement.
        """
        if not self.budget_s:
            return 0.0
        return relative_error([s.total_s for s in self.curve().samples[size]])

    @property
    def uncertain_sizes(self) -> tuple[int, ...]:
        """The sizes whose median is not known as well as was aimed at."""
        return tuple(size for size in self.sizes if self.error(size) > self.target)

    # Capacity.

    @cached_property
    def peak_batch_size(self) -> int:
        """The smallest b at which b/T(b) is largest."""
        return max(range(1, self.max_batch_size + 1), key=lambda b: (self.rate_rps(b), -b))

    @property
    def peak_rps(self) -> float:
        """The capacity of one worker: the largest b/T(b), requests per second."""
        return self.rate_rps(self.peak_batch_size)

    def rate_rps(self, size: int) -> float:
        """b/T(b): requests per second in full batches of that size."""
        return size / self.total_s(size)

    @property
    def batching_gain(self) -> float:
        """How many times the capacity is that of serving one by one: peak x T(1)."""
        return self.peak_rps * self.total_s(1)

    @cached_property
    def knee(self) -> int:
        """The smallest b with b/T(b) at least nine tenths of the peak."""
        enough_rps = KNEE * self.peak_rps
        return next(b for b in range(1, self.max_batch_size + 1) if self.rate_rps(b) >= enough_rps)

    def best_size_within(self, slo_s: float, q: float = 0.99) -> int | None:
        """The size of the highest rate whose batches take at most `slo_s` in the share q of cases.

        A request also waits, for the batch before it and for company, so this is the largest batch
        that an SLO leaves room for, not one that meets it under load. None if not even 1 is.
        """
        sizes = range(1, self.max_batch_size + 1)
        within = [b for b in sizes if self.quantile_s(b, q) <= slo_s]
        return max(within, key=lambda b: (self.rate_rps(b), -b), default=None)

    # Draws.

    @cached_property
    def ranks(self) -> NDArray[np.float64]:
        """How slow the machine was, `[N]` in the order of measurement.

        Each is the rank of a sample among those of its own size, as a share from 0 to 1; equal
        times are ordered at random.
        """
        mix = [s for s in self.samples if s.length is None]
        sizes = np.array([s.size for s in mix])
        times_s = np.array([s.total_s for s in mix])
        ties = np.random.default_rng(self.seed).random(len(mix))
        ranks = np.empty(len(mix))
        for size in self.sizes:
            (here,) = np.nonzero(sizes == size)
            order = here[np.lexsort((ties[here], times_s[here]))]
            ranks[order] = (np.arange(len(here)) + 0.5) / len(here)
        return ranks

    @cached_property
    def block_length(self) -> int:
        """How many consecutive batches are drawn together; see `ServiceDraws`."""
        return block_length(self.ranks)

    def draws(self, rng: np.random.Generator) -> ServiceDraws:
        """An endless series of batch times for a simulation."""
        return ServiceDraws(
            self.curve(),
            self.ranks,
            rng,
            together=self.block_length,
            wake_s=self.wake_s,
            timer_s=self.timer_s,
            turn_s=self.turn_s,
        )


def require_match(profile: ServiceProfile, subject: Subject, *, force: bool = False) -> list[str]:
    """Check that a profile is of `subject`; returns what to remark on.

    Args:
        profile: what is to be used.
        subject: what it is to be used for.
        force: take it all the same, and return the differences as the first remarks.

    Raises:
        ProfileError: it is of another model, device, dtype or engine.
    """
    differences = profile.subject.differences(subject)
    if differences.decisive and not force:
        raise ProfileError(
            "the profile must be of what it is used for, but its "
            f"{', its '.join(differences.decisive)}; --force uses it all the same"
        )
    return [f"the profile's {text}" for text in (*differences.decisive, *differences.remarks)]
