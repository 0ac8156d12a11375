"""What a model must do to be batched, and what the batcher tells it about where it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs and in which number format.

    Attributes:
        device: "cpu" or "cuda:<index>".
        dtype: "fp32", "fp16" or "bf16".
    """

    device: str = "cpu"
    dtype: str = "fp32"

    @property
    def is_cuda(self) -> bool:
        """Whether the device is an NVIDIA GPU."""
        return self.device.startswith("cuda")


@dataclass(slots=True)
class Collated:
    """A batch's inputs on the host.

    Attributes:
        inputs: what `Model.run` takes: a tensor, a mapping of names to tensors, or anything for a
            model that does not use torch.
        real_elements, padded_elements: elements before and after padding; leave them out
            (or None) where nothing is padded.
    """

    inputs: Any
    real_elements: float | None = nan
    padded_elements: float | None = nan


class Staging(Protocol):
    """Gives collation a host buffer to fill: pinned and reused where the device copies from it."""

    def stack(self, name: str, tensors: Sequence[Any]) -> Any:
        """Stack equal-shaped tensors `[...]` into `[B, ...]` in the buffer called `name`."""
        ...

    def full(self, name: str, shape: tuple[int, ...], dtype: Any, value: float) -> Any:
        """A tensor of that shape filled with `value`, in the buffer called `name`."""
        ...


@runtime_checkable
class Model(Protocol):
    """A model that can be served in batches.

    The batcher calls `prepare` once, then for every batch `collate`, `run` and `split` in a worker
    thread; with several replicas on one device, or two batches in flight, in several.

    Three further methods are optional: `lane_key(payload)` gives a hashable, and only requests of
    equal key share a batch; `warm_up_inputs()` gives one payload of each shape to be warmed up;
    `input_of_length(rng, length)` makes a payload of that length, for a model of sequences.
    """

    name: str
    uses_torch: bool

    def make_input(self, rng: np.random.Generator) -> Any:
        """One request's payload, as a caller of `add_request` would pass it."""
        ...

    def prepare(self, placement: Placement) -> None:
        """Load the model onto the device; calling it again with the same placement is free."""
        ...

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Make one batch of these payloads on the host."""
        ...

    def run(self, inputs: Any) -> Any:
        """Run the batch; `inputs` are what `collate` gave, already on the device."""
        ...

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """Each request's result, in order; `outputs` are back on the host."""
        ...


class CallableModel:
    """A plain function of a list of payloads, as a model.

    Args:
        function: takes a list of payloads, returns as many results in the same order.
    """

    uses_torch = False

    def __init__(self, function: Any) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def make_input(self, rng: np.random.Generator) -> Any:
        """A function says nothing about its inputs."""
        raise NotImplementedError(f"{self.name} is a plain function: it cannot make an input")

    def prepare(self, placement: Placement) -> None:
        """Nothing to load."""

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """The list itself is the batch."""
        return Collated(payloads)

    def run(self, inputs: Any) -> Any:
        """Call the function."""
        return self._function(inputs)

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """The function's own results."""
        return outputs  # type: ignore[no-any-return]
