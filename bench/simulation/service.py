"""How long things take in a simulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from batching import Model
from batching.errors import ConfigError
from batching.models.synthetic import SyntheticModel


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
