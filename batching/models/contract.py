"""What a model must do to be batched, and what the batcher tells it about where it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from math import nan
from typing import Any, Protocol, runtime_checkable

import numpy as np

from batching.errors import ConfigError
from batching.models.structure import each_tensor

__all__ = [
    "CallableModel",
    "Collated",
    "Model",
    "Placement",
    "Staging",
    "default_captured_sizes",
    "each_tensor",
    "is_channels_last",
    "require_plain_functions",
    "sample_payloads",
]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs, in which number format, and what executes it.

    Attributes:
        device: "cpu" or "cuda:<index>".
        dtype: "fp32", "fp16" or "bf16".
        engine: "eager", "cudagraph" or "compile".
        captured_sizes: the batch sizes that the engine cudagraph captures, increasing; empty for
            those of `default_captured_sizes`, which `for_batches` puts in.
        channels_last: whether tensors `[B, C, H, W]` and a model's convolutions are laid out with
            the channels last; None leaves it to the model.
    """

    device: str = "cpu"
    dtype: str = "fp32"
    engine: str = "eager"
    captured_sizes: tuple[int, ...] = ()
    channels_last: bool | None = None

    @property
    def is_cuda(self) -> bool:
        """Whether the device is an NVIDIA GPU."""
        return self.device.startswith("cuda")

    def for_batches(self, max_batch_size: int) -> "Placement":
        """The same, with the sizes to capture decided where they were left to us."""
        if self.engine != "cudagraph" or self.captured_sizes:
            return self
        return replace(self, captured_sizes=default_captured_sizes(max_batch_size))


def default_captured_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, ...: up to the first that holds a full batch.

    From 16 on in steps of 8, and of an eighth of the last power of two from 128 on. A batch of any
    size from 65 to 128 is padded by 3.8 % on average, where 2^k and 3 * 2^k alone would pad it by
    17.7 %; each size takes a capture, and memory for its outputs. A smaller limit gets the first
    of a larger one's sizes, so that both run a batch of one size in the same way.
    """
    sizes = [1]
    while sizes[-1] < max_batch_size:
        power = 1 << (sizes[-1].bit_length() - 1)
        sizes.append(sizes[-1] + (max(8, power // 8) if power >= 16 else max(1, power // 2)))
    return tuple(sizes)


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

    Further methods are optional: `lane_key(payload)` gives a hashable, and only requests of
    equal key share a batch; `warm_up_inputs()` gives one payload of each shape to be warmed up;
    `input_of_length(rng, length)` makes a payload of that length, for a model of sequences.
    `compiles` is true of a model whose `prepare` heeds `Placement.engine == "compile"`;
    `is_channels_last(placement)` says which layout it would have there. `copies_itself` is true of
    a model that uses a device and whose `run` takes what is on the host, and gives it back there;
    `packages` names those whose versions a profile of it should note.
    """

    name: str
    uses_torch: bool

    def make_input(self, rng: np.random.Generator) -> Any:
        """One request's payload, as a caller of `add_request` would pass it."""
        ...

    def prepare(self, placement: Placement) -> None:
        """Load the model onto the device; calling it again with the same placement is free.

        Several threads may call it at once.
        """
        ...

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Make one batch of these payloads on the host."""
        ...

    def run(self, inputs: Any) -> Any:
        """Run the batch; `inputs` are what `collate` gave, already on the device."""
        ...

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """Each request's result, in order; `outputs` are back on the host.

        A list, a tuple, a tensor or an array `[B, ...]` whose rows they are, or another sequence.
        """
        ...


def is_channels_last(model: Any, placement: Placement) -> bool:
    """Whether a model's images would have their channels last there; false if it does not say."""
    asked: Callable[[Placement], bool] | None = getattr(model, "is_channels_last", None)
    return False if asked is None else asked(placement)


def sample_payloads(model: Model) -> list[Any]:
    """One payload of each shape that the model wants warmed up; one, if it does not say.

    Raises:
        NotImplementedError: it cannot make an input.
    """
    wanted = getattr(model, "warm_up_inputs", None)
    return [model.make_input(np.random.default_rng(0))] if wanted is None else wanted()


def require_plain_functions(model: Model) -> None:
    """Check that what a worker calls does its work when it is called.

    Raises:
        ConfigError: one of its methods is `async def` or a generator.
    """
    for name in ("prepare", "collate", "run", "split"):
        _require_plain(f"{name} of {model.name}", getattr(model, name))


def _require_plain(what: str, function: Any) -> None:
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004 - looked at, not asked
        if iscoroutinefunction(one) or isasyncgenfunction(one):
            raise ConfigError(
                f"{what} must be a plain function, which a worker's thread calls, but got an "
                "async def"
            )
        if isgeneratorfunction(one):
            raise ConfigError(
                f"{what} must return a sequence of results, but got a generator function: "
                "collect what it yields in a list"
            )


class CallableModel:
    """A plain function of a list of payloads, as a model.

    Args:
        function: takes a list of payloads, returns as many results in the same order.

    Raises:
        ConfigError: it cannot be called, or is `async def` or a generator function.
    """

    uses_torch = False

    def __init__(self, function: Any) -> None:
        if not callable(function):
            raise ConfigError(
                "run must be a Model or a function of a list of payloads, "
                f"but got {type(function).__name__}"
            )
        self.name = getattr(function, "__name__", type(function).__name__)
        _require_plain(f"run ({self.name})", function)
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
