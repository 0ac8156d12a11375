"""Any torch module as a batched model."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from batching.errors import ModelError
from batching.models.contract import Collated, Placement, Staging

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchModel:
    """A `torch.nn.Module` that takes one batched tensor and returns one.

    Args:
        build: makes the module; called once, by `prepare`.
        make_input: one request's input tensor `[...]` from a random generator, without the batch
            dimension.
        name: how reports call it.
        weights: a file with a state dict (`.safetensors`, or anything `torch.load` reads with
            `weights_only`), loaded into the module; None keeps its initial weights.
    """

    uses_torch = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        make_input: Callable[[np.random.Generator], torch.Tensor],
        *,
        name: str,
        weights: Path | None = None,
    ) -> None:
        self.name = name
        self._build = build
        self._make_input = make_input
        self._weights = weights
        self._module: nn.Module | None = None
        self._placement: Placement | None = None

    def make_input(self, rng: np.random.Generator) -> torch.Tensor:
        """One request's input tensor `[...]`."""
        return self._make_input(rng)

    def prepare(self, placement: Placement) -> None:
        """Build the module, load its weights and move it to the device."""
        if placement == self._placement:
            return
        module = self._build()
        if self._weights is not None:
            load_state_dict(module, self._weights)
        self._module = module.eval().to(placement.device, DTYPES[placement.dtype])
        self._placement = placement

    def lane_key(self, payload: Any) -> Hashable:
        """Tensors of different shape or type never share a batch."""
        return payload.shape, payload.dtype

    def warm_up_inputs(self) -> list[Any]:
        """One payload of each shape that batches are to be warmed up with."""
        return [self.make_input(np.random.default_rng(0))]

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Stack tensors `[...]` into `[B, ...]`."""
        return Collated(staging.stack("inputs", payloads))

    def run(self, inputs: Any) -> Any:
        """Outputs `[B, ...]` of inputs `[B, ...]`, in the model's dtype, without autograd."""
        with torch.inference_mode():
            return self._forward(self._cast(inputs))

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One row each."""
        return outputs.unbind(0)  # type: ignore[no-any-return]

    def _forward(self, inputs: Any) -> Any:
        assert self._module is not None, "prepare comes before run"  # noqa: S101 - an invariant
        outputs = self._module(**inputs) if isinstance(inputs, Mapping) else self._module(inputs)
        # transformers return a record of outputs; the logits, or else the first, are the result.
        logits = getattr(outputs, "logits", None)
        if logits is not None:
            return logits
        return outputs if isinstance(outputs, torch.Tensor) else outputs[0]

    def _cast(self, inputs: Any) -> Any:
        assert self._placement is not None, "prepare comes before run"  # noqa: S101 - an invariant
        dtype = DTYPES[self._placement.dtype]
        if isinstance(inputs, Mapping):
            return inputs
        return inputs.to(dtype) if inputs.is_floating_point() else inputs


class TokenModel(TorchModel):
    """A module that takes padded token ids `[B, L]` and an attention mask of the same shape.

    Args:
        build: makes the module; called once, by `prepare`.
        make_input: one request's token ids, `[l]` int64, from a random generator.
        name: how reports call it.
        weights: a file with a state dict.
        length_buckets: increasing lengths; a request is padded to the first that holds it, and
            only requests of one bucket share a batch. Empty: all share, padded to the longest.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        make_input: Callable[[np.random.Generator], torch.Tensor],
        *,
        name: str,
        weights: Path | None = None,
        length_buckets: Sequence[int] = (),
    ) -> None:
        super().__init__(build, make_input, name=name, weights=weights)
        if list(length_buckets) != sorted({b for b in length_buckets if b > 0}):
            raise ModelError(f"length_buckets must be increasing, but got {list(length_buckets)}")
        self.length_buckets = tuple(length_buckets)

    def input_of_length(self, rng: np.random.Generator, length: int) -> torch.Tensor:
        """A made input, repeated and cut to `length` ids."""
        made = self.make_input(rng)
        return made.repeat(-(-length // len(made)))[:length]

    def lane_key(self, payload: Any) -> Hashable:
        """The bucket that holds it; what is longer than the last has a lane of its own length."""
        length = len(payload)
        if not self.length_buckets:
            return None
        return next((bucket for bucket in self.length_buckets if length <= bucket), length)

    def warm_up_inputs(self) -> list[Any]:
        """A made input, or one that fills each bucket."""
        made = self.make_input(np.random.default_rng(0))
        if not self.length_buckets:
            return [made]
        return [made.new_ones(bucket) for bucket in self.length_buckets]

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Pad ids `[l_i]` with zeros to their bucket or the longest; the mask is 1 over ids."""
        longest = max(len(ids) for ids in payloads)
        longest = next((bucket for bucket in self.length_buckets if longest <= bucket), longest)
        shape = (len(payloads), longest)
        ids = staging.full("input_ids", shape, torch.int64, 0)
        mask = staging.full("attention_mask", shape, torch.int64, 0)
        real = 0
        for row, payload in enumerate(payloads):
            ids[row, : len(payload)] = payload
            mask[row, : len(payload)] = 1
            real += len(payload)
        return Collated(
            {"input_ids": ids, "attention_mask": mask},
            real_elements=real,
            padded_elements=len(payloads) * longest,
        )


def load_state_dict(module: nn.Module, path: Path) -> None:
    """Load a local state dict into `module`.

    Raises:
        ModelError: the file is missing, not a state dict, or of another architecture.
    """
    if not path.is_file():
        raise ModelError(f"weights must be a file with a state dict, but got {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as error:  # what a corrupt file raises depends on how it is corrupt
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"weights {str(path)!r} do not fit {type(module).__name__}: {' '.join(reason)[:200]}"
        ) from error
