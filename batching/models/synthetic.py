"""Models that take a stated time and compute nothing: tests, what-ifs, and shapes of devices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from batching.clock import Clock
from batching.errors import ModelError
from batching.models.contract import Collated, Placement, Staging


class SyntheticModel:
    """Base: holds the worker for `batch_s(n)` seconds, then returns the payloads as results.

    Exact on a virtual clock. In real time the last tens of microseconds are spun, so that a batch
    overshoots by a few microseconds and not by a sleeping thread's 30 to 150.
    """

    uses_torch = False

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock

    def batch_s(self, size: int) -> float:
        """Seconds that a batch of `size` takes."""
        raise NotImplementedError

    def make_input(self, rng: np.random.Generator) -> Any:
        """A number, to be returned as the result."""
        return float(rng.random())

    def prepare(self, placement: Placement) -> None:
        """Nothing to load."""

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """The list itself is the batch."""
        return Collated(payloads)

    def run(self, inputs: Any) -> Any:
        """Let `batch_s` pass."""
        clock = self._clock
        clock.sleep_until(clock.now() + self.batch_s(len(inputs)), exact=True)
        return inputs

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """The payloads themselves."""
        return outputs  # type: ignore[no-any-return]


class AffineModel(SyntheticModel):
    """T(n) = a + b*n.

    Args:
        a_s: fixed time of a batch, seconds, >= 0.
        b_s: time of each request in it, seconds, >= 0.
    """

    def __init__(self, a_s: float, b_s: float, clock: Clock) -> None:
        super().__init__(f"affine:{a_s * 1e3:g},{b_s * 1e3:g}", clock)
        self.a_s = a_s
        self.b_s = b_s

    def batch_s(self, size: int) -> float:
        """T(n) = a + b*n."""
        return self.a_s + self.b_s * size


class RooflineModel(SyntheticModel):
    """T(n) = overhead + max(floor, item*n): flat up to the knee at n = floor/item, then linear.

    The shape of an accelerator that small batches leave idle (Williams et al. 2009, "Roofline").

    Args:
        overhead_s: launch and hand-over time of a batch, seconds, >= 0.
        floor_s: time of a batch too small to fill the device, seconds, >= 0.
        item_s: time of each request once it is full, seconds, >= 0.
    """

    def __init__(self, overhead_s: float, floor_s: float, item_s: float, clock: Clock) -> None:
        name = f"roofline:{overhead_s * 1e3:g},{floor_s * 1e3:g},{item_s * 1e3:g}"
        super().__init__(name, clock)
        self.overhead_s = overhead_s
        self.floor_s = floor_s
        self.item_s = item_s

    def batch_s(self, size: int) -> float:
        """T(n) = overhead + max(floor, item*n)."""
        return self.overhead_s + max(self.floor_s, self.item_s * size)


def parse_times_s(name: str, text: str, parameters: Sequence[str]) -> list[float]:
    """Read a synthetic model's comma-separated milliseconds as seconds.

    Raises:
        ModelError: not as many numbers as parameters, one that is negative, or all zero.
    """
    expected = f"model {name} takes {','.join(parameters)} in milliseconds"
    try:
        values_ms = [float(part) for part in text.split(",")]
    except ValueError:
        raise ModelError(f"{expected}, but got {text!r}") from None
    if len(values_ms) != len(parameters) or not all(0 <= v < 1e9 for v in values_ms):
        raise ModelError(f"{expected}, each >= 0, but got {text!r}")
    if not any(values_ms):
        raise ModelError(f"{expected}, not all zero, but got {text!r}")
    return [v / 1e3 for v in values_ms]
