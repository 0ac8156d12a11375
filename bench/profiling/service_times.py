"""Where a simulation's batch times come from: a profile, or a model that states its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Protocol

import numpy as np

from batching import Model
from batching.errors import ConfigError
from batching.execution.probe import PROBE_SIZES, probe_sizes
from batching.models.synthetic import SyntheticModel
from batching.profiles import ServiceProfile


class Service(Protocol):
    """Batch times, drawn one batch after the other."""

    def next(self, size: int) -> tuple[float, float, float]:
        """Seconds to collate, to execute and to deliver the next batch of that size."""
        ...


class ExactService:
    """Batches that take exactly what a function of their size says.

    Args:
        batch_s: batch size -> seconds of execution; asked once a size.
    """

    def __init__(self, batch_s: Callable[[int], float]) -> None:
        self._batch_s = batch_s
        self._known: dict[int, tuple[float, float, float]] = {}

    @classmethod
    def of(cls, model: Model) -> "ExactService":
        """The service of a synthetic model.

        Raises:
            ConfigError: the model is a real one, whose times have to be measured.
        """
        if not isinstance(model, SyntheticModel):
            raise ConfigError(
                f"only affine and roofline models take an exact time, but got {model.name}: "
                "measure it with dynbatch profile"
            )
        return cls(model.batch_s)

    def next(self, size: int) -> tuple[float, float, float]:
        """Nothing but execution takes time."""
        times_s = self._known.get(size)
        if times_s is None:
            times_s = self._known[size] = (0.0, self._batch_s(size), 0.0)
        return times_s


def _none() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Overheads:
    """What the batcher's thread loses around a batch; each draws seconds, 0 where nothing is lost.

    Attributes:
        wake_s: from the arrival that ends an idle worker's wait to the batch being taken.
        timer_s: from the moment a policy waited for to the batch being taken.
        gap_s: from the end of a batch to the next question, when the worker had no need to sleep.
    """

    wake_s: Callable[[], float] = _none
    timer_s: Callable[[], float] = _none
    gap_s: Callable[[], float] = _none


class Source(Protocol):
    """Batch times of one model on one device."""

    @property
    def max_batch_size(self) -> int:
        """The largest batch it knows the time of."""
        ...

    @property
    def peak_rps(self) -> float:
        """What one worker can serve, requests per second."""
        ...

    def least_s(self, size: int) -> float:
        """A time that no batch of that size falls below, collated, executed, delivered; seconds."""
        ...

    def least_execute_s(self, size: int) -> float:
        """A time that its execution alone does not fall below, seconds."""
        ...

    def mean_execute_s(self, size: int) -> float:
        """What the execution of a batch of that size takes on average, seconds."""
        ...

    def draw(self, seed: int) -> tuple[Service, Overheads]:
        """An endless series of batch times; equal seeds give equal series."""
        ...


@dataclass(frozen=True)
class ProfileSource:
    """The samples of a service profile, redrawn."""

    profile: ServiceProfile

    @property
    def max_batch_size(self) -> int:
        """The largest measured size."""
        return self.profile.max_batch_size

    @property
    def peak_rps(self) -> float:
        """The profile's capacity."""
        return self.profile.peak_rps

    def least_s(self, size: int) -> float:
        """The shortest sample."""
        return self.profile.quantile_s(size, 0.0)

    def least_execute_s(self, size: int) -> float:
        """The shortest execution of a sample."""
        return min(parts.execute_s for parts in self.profile.curve().rows(size))

    def mean_execute_s(self, size: int) -> float:
        """The mean of the samples."""
        return fmean(parts.execute_s for parts in self.profile.curve().rows(size))

    def draw(self, seed: int) -> tuple[Service, Overheads]:
        """Draws of times and of what the threads lose."""
        draws = self.profile.draws(np.random.default_rng(seed))
        return draws, Overheads(wake_s=draws.wake, timer_s=draws.timer, gap_s=draws.turn)


@dataclass(frozen=True)
class ExactSource:
    """The times that a synthetic model states, with nothing around them.

    Args:
        model: an affine or roofline model.
        max_batch_size: the largest batch that may be asked for; its formula has no end.
        probed_batch_size: the largest that a run's own probe would try.
    """

    model: SyntheticModel
    max_batch_size: int = 4096
    probed_batch_size: int = PROBE_SIZES[-1]

    @property
    def peak_rps(self) -> float:
        """The largest b/T(b) of the sizes that a run's own probe tries."""
        return max(size / self.model.batch_s(size) for size in probe_sizes(self.probed_batch_size))

    def least_s(self, size: int) -> float:
        """T(size) itself."""
        return self.model.batch_s(size)

    def least_execute_s(self, size: int) -> float:
        """T(size) too: nothing else takes time."""
        return self.model.batch_s(size)

    def mean_execute_s(self, size: int) -> float:
        """T(size) once more."""
        return self.model.batch_s(size)

    def draw(self, seed: int) -> tuple[Service, Overheads]:
        """The same times whatever the seed."""
        return self._service, Overheads()

    @cached_property
    def _service(self) -> ExactService:
        return ExactService(self.model.batch_s)


def exact_source(model: Model, probed_batch_size: int) -> ExactSource | None:
    """The source of a synthetic model; None for a real one, which has to be profiled."""
    if not isinstance(model, SyntheticModel):
        return None
    return ExactSource(model, probed_batch_size=probed_batch_size)
