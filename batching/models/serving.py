"""What a torch model does to a batch on the device: cast, normalise, run, choose the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from batching.errors import WrongOutputCountError
from batching.models.structure import each_tensor

_LARGEST_BYTE = 255.0


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What makes images of bytes a model's inputs: (byte / 255 - mean) / std, for each channel.

    Attributes:
        mean, std: of each channel, on the scale 0..1.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`scale` and `shift`, `[C, 1, 1]`, so that an input is byte * scale + shift."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (1.0 / (_LARGEST_BYTE * std))[:, None, None], (-mean / std)[:, None, None]


class Served(nn.Module):
    """A module with what its inputs and outputs need around it, so that engines take it all.

    Args:
        module: what runs.
        dtype: what floating-point inputs and images of bytes are cast to.
        normalisation: for inputs `[B, C, H, W]` of bytes; None takes bytes as they are.
        output: the name or the index of the module's output that is the result; None for all.
        channels_last: lay tensors `[B, C, H, W]` out with the channels last.
    """

    _scale: torch.Tensor
    _shift: torch.Tensor

    def __init__(
        self,
        module: nn.Module,
        dtype: torch.dtype,
        normalisation: Normalisation | None = None,
        *,
        output: str | int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self._output = output
        self._dtype = dtype
        self._normalises = normalisation is not None
        self._channels_last = channels_last
        if normalisation is not None:
            scale, shift = normalisation.factors()
            self.register_buffer("_scale", scale)
            self.register_buffer("_shift", shift)

    def forward(self, inputs: Any) -> Any:
        """What the module returns for inputs `[B, ...]`, for named ones, or for a tuple of them."""
        if isinstance(inputs, Mapping):
            outputs = self.module(**{name: self._cast(value) for name, value in inputs.items()})
        elif isinstance(inputs, tuple):
            outputs = self.module(*map(self._cast, inputs))
        else:
            outputs = self.module(self._cast(inputs))
        return outputs if self._output is None else _chosen(outputs, self._output)

    def _cast(self, inputs: Any) -> Any:
        if not isinstance(inputs, torch.Tensor):
            return each_tensor(inputs, self._cast)
        image_of_bytes = self._normalises and inputs.dtype == torch.uint8
        dtype = self._dtype if image_of_bytes or inputs.is_floating_point() else inputs.dtype
        if self._channels_last and inputs.dim() == 4:
            inputs = inputs.to(dtype=dtype, memory_format=torch.channels_last)
        else:
            inputs = inputs.to(dtype)
        return inputs * self._scale + self._shift if image_of_bytes else inputs


def _chosen(outputs: Any, output: str | int) -> Any:
    """One output of several: of a mapping by its key, of a tuple by its index, else an attribute.

    Raises:
        WrongOutputCountError: there is none of that name or index.
    """
    if isinstance(outputs, Mapping):
        found = outputs.get(output)
    elif isinstance(output, int):
        several = isinstance(outputs, (tuple, list)) and -len(outputs) <= output < len(outputs)
        found = outputs[output] if several else None
    else:
        found = getattr(outputs, output, None)
    if found is None:
        raise WrongOutputCountError(
            f"output must be among what the module returns, but got {output!r} and "
            f"{type(outputs).__name__}"
        )
    return found
