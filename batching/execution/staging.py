"""Host buffers that batches are collated into, kept from batch to batch."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from batching.execution.cuda import Cuda

# One more than the batches an executor has in flight.
RING = 2


class HostStaging:
    """Fresh pageable tensors: on the CPU the model reads them in place, so nothing is copied."""

    def stack(self, name: str, tensors: Sequence[Any]) -> torch.Tensor:
        """Stack equal-shaped tensors `[...]` into `[B, ...]`."""
        del name
        return torch.stack(tuple(tensors))

    def full(self, name: str, shape: tuple[int, ...], dtype: Any, value: float) -> torch.Tensor:
        """A tensor of that shape filled with `value`."""
        del name
        return torch.full(shape, value, dtype=dtype)


class PinnedRing:
    """Sets of page-locked buffers, taken in turn, so that collation waits for no copy.

    A set has a buffer for each name and dtype, grown as needed. It is written to again only once
    what was copied from it has arrived, also where the batch before it failed half-way and its
    copies were still on their way.

    Args:
        cuda: the device that copies from them.
        count: how many sets.
    """

    def __init__(self, cuda: Cuda, count: int = RING) -> None:
        self._cuda = cuda
        self._sets: list[dict[tuple[str, Any], Any]] = [{} for _ in range(count)]
        self._copied = [cuda.event() for _ in range(count)]
        self._turn = 0

    def turn(self) -> None:
        """Go on to the next set, once nothing is being copied from it."""
        self._turn = (self._turn + 1) % len(self._sets)
        self._copied[self._turn].synchronize()

    def copied(self, stream: Any) -> None:
        """All copies from the present set are on that stream now."""
        self._copied[self._turn].record(stream)

    def stack(self, name: str, tensors: Sequence[Any]) -> torch.Tensor:
        """Stack equal-shaped tensors `[...]` into `[B, ...]` of the buffer called `name`."""
        first = tensors[0]
        out = self._view(name, (len(tensors), *first.shape), first.dtype)
        return torch.stack(tuple(tensors), out=out)

    def full(self, name: str, shape: tuple[int, ...], dtype: Any, value: float) -> torch.Tensor:
        """A tensor of that shape filled with `value`, in the buffer called `name`."""
        return self._view(name, shape, dtype).fill_(value)

    def _view(self, name: str, shape: tuple[int, ...], dtype: Any) -> torch.Tensor:
        buffers, size = self._sets[self._turn], prod(shape)
        buffer = buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = buffers[name, dtype] = self._cuda.pinned(size, dtype)
        view: torch.Tensor = buffer[:size].view(shape)
        return view
