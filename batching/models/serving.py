"""What a torch model does to a batch on the device: cast, normalise, run, pick the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self._dtype = dtype
        self._normalises = normalisation is not None
        self._channels_last = channels_last
        if normalisation is not None:
            scale, shift = normalisation.factors()
            self.register_buffer("_scale", scale, persistent=False)
            self.register_buffer("_shift", shift, persistent=False)

    def forward(self, inputs: Any) -> Any:
        """Outputs `[B, ...]` of inputs `[B, ...]`, or of named ones."""
        if isinstance(inputs, Mapping):
            outputs = self.module(**inputs)
        else:
            outputs = self.module(self._cast(inputs))
        # transformers return a record of outputs; the logits, or else the first, are the result.
        logits = getattr(outputs, "logits", None)
        if logits is not None:
            return logits
        return outputs if isinstance(outputs, torch.Tensor) else outputs[0]

    def _cast(self, inputs: torch.Tensor) -> torch.Tensor:
        image_of_bytes = self._normalises and inputs.dtype == torch.uint8
        dtype = self._dtype if image_of_bytes or inputs.is_floating_point() else inputs.dtype
        if self._channels_last and inputs.dim() == 4:
            inputs = inputs.to(dtype=dtype, memory_format=torch.channels_last)
        else:
            inputs = inputs.to(dtype)
        return inputs * self._scale + self._shift if image_of_bytes else inputs
