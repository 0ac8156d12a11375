"""Payloads to batches: tensors, numpy arrays, numbers, and dicts and tuples of them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from batching.errors import BatchingError
from batching.models.contract import Collated, Staging

_ALONE = "inputs"
_NUMBERS = (bool, int, float, np.generic)


class PayloadError(BatchingError, TypeError):
    """A request's payload is nothing that can be collated."""


@dataclass(frozen=True, slots=True)
class Padding:
    """How inputs `[l, ...]` of different length l share a batch: `[B, L, ...]`, L the longest.

    Attributes:
        value: what follows the shorter ones: a number for all inputs, or for each name of a dict
            payload that is to be padded its own; what is not named is not.
        mask: the module's keyword for a mask `[B, L]`, int64, 1 where there is input and 0 where
            there is padding; a payload that is no dict has it as the argument after its own. It is
            of the first padded input. A mask that comes with the payload is padded with 0. None
            passes none.
    """

    value: float | Mapping[str, float] = 0.0
    mask: str | None = None

    def of(self, name: str) -> float | None:
        """What that input is padded with; None if it is not padded."""
        if name == self.mask:
            return 0.0
        return self.value.get(name) if isinstance(self.value, Mapping) else self.value


class Collation:
    """Stacks payloads, or pads them.

    Args:
        padding: None where only inputs of equal shape share a batch.
    """

    def __init__(self, padding: Padding | None = None) -> None:
        self.padding = padding

    def lane_key(self, payload: Any) -> Hashable:
        """Equal for payloads that may share a batch: names, dtypes and shapes, less what is padded.

        What cannot be collated is in a lane of its type, where collating it says so.
        """
        return self._key(payload, _ALONE)

    def _key(self, value: Any, name: str) -> Hashable:
        if isinstance(value, (torch.Tensor, np.ndarray)):
            if value.ndim and self._pads_with(name) is not None:
                return value.shape[1:], value.dtype
            return value.shape, value.dtype
        if isinstance(value, Mapping):
            return tuple((key, self._key(value[key], key)) for key in sorted(value))
        if isinstance(value, tuple):
            return tuple(self._key(part, name) for part in value)
        return (type(value),)

    def _pads_with(self, name: str) -> float | None:
        return None if self.padding is None else self.padding.of(name)

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """One batch of payloads of equal key.

        Raises:
            PayloadError: they are nothing that can be collated.
        """
        batch = _Batch(self, staging)
        inputs = batch.of(payloads, _ALONE)
        if batch.lengths is None:
            return Collated(inputs)
        longest, count = max(batch.lengths), len(payloads)
        mask = None if self.padding is None else self.padding.mask
        if mask is not None and not (isinstance(inputs, dict) and mask in inputs):
            made = _mask(staging, mask, batch.lengths)
            if isinstance(inputs, dict):
                inputs[mask] = made
            else:
                inputs = (*inputs, made) if isinstance(inputs, tuple) else (inputs, made)
        return Collated(inputs, real_elements=sum(batch.lengths), padded_elements=count * longest)


class _Batch:
    """One batch in the making.

    Attributes:
        lengths: of the first padded input of each request; None if nothing is padded.
    """

    def __init__(self, collation: Collation, staging: Staging) -> None:
        self._collation = collation
        self._staging = staging
        self.lengths: list[int] | None = None

    def of(self, values: Sequence[Any], name: str, path: str = "") -> Any:
        """The values of all requests for one input; `path` names its buffer."""
        first = values[0]
        path = f"{path}.{name}" if path else name
        if isinstance(first, Mapping):
            return {key: self.of([value[key] for value in values], key, path) for key in first}
        if isinstance(first, tuple):
            return tuple(
                self.of(parts, name, f"{path}.{i}")
                for i, parts in enumerate(zip(*values, strict=True))
            )
        tensors = [as_tensor(value) for value in values]
        pad = self._collation._pads_with(name)  # noqa: SLF001 - its other half
        if pad is None or not tensors[0].dim():
            return self._staging.stack(path, tensors)
        return self._padded(tensors, pad, path)

    def _padded(self, tensors: Sequence[torch.Tensor], pad: float, path: str) -> torch.Tensor:
        lengths = [len(tensor) for tensor in tensors]
        if self.lengths is None:
            self.lengths = lengths
        first = tensors[0]
        shape = (len(tensors), max(lengths), *first.shape[1:])
        padded: torch.Tensor = self._staging.full(path, shape, first.dtype, pad)
        for row, tensor in zip(padded, tensors, strict=True):
            row[: len(tensor)] = tensor
        return padded


def as_tensor(value: Any) -> torch.Tensor:
    """A tensor of one input; an array's memory is shared where torch can.

    Raises:
        PayloadError: it is nothing that a tensor can be made of.
    """
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        if not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        # torch takes no negative strides, and warns of what it might write to.
        as_it_is = value.flags.writeable and all(stride >= 0 for stride in value.strides)
        try:
            return torch.from_numpy(value if as_it_is else value.copy())
        except TypeError as error:
            raise PayloadError(f"payload must be of numbers, but got {value.dtype}") from error
    if isinstance(value, _NUMBERS):
        return torch.tensor(value)
    raise PayloadError(
        "payload must be a tensor, a numpy array, a number, or a dict or a tuple of them, but got "
        f"{type(value).__name__}: TorchModel(collate=...) takes anything"
    )


def _mask(staging: Staging, name: str, lengths: Sequence[int]) -> torch.Tensor:
    mask: torch.Tensor = staging.full(name, (len(lengths), max(lengths)), torch.int64, 0)
    for row, length in zip(mask, lengths, strict=True):
        row[:length] = 1
    return mask
