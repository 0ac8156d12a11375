"""Host buffers that batches are collated into, kept from batch to batch."""

from collections.abc import Sequence
from typing import Any

import torch


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


class PinnedStaging:
    """Page-locked buffers, one for each name and dtype, grown as needed and used again.

    A batch's copies must have finished before the next batch is collated into the same buffers;
    one batch in flight, ended by its event, sees to that.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def stack(self, name: str, tensors: Sequence[Any]) -> torch.Tensor:
        """Stack equal-shaped tensors `[...]` into `[B, ...]` of the buffer called `name`."""
        first = tensors[0]
        out = self._view(name, (len(tensors), *first.shape), first.dtype)
        return torch.stack(tuple(tensors), out=out)

    def full(self, name: str, shape: tuple[int, ...], dtype: Any, value: float) -> torch.Tensor:
        """A tensor of that shape filled with `value`, in the buffer called `name`."""
        return self._view(name, shape, dtype).fill_(value)

    def _view(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        size = 1
        for length in shape:
            size *= length
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=dtype, pin_memory=True)
            self._buffers[name, dtype] = buffer
        return buffer[:size].view(shape)
