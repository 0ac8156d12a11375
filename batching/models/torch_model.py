"""Any torch module as a batched model."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock, local
from types import FunctionType, MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from batching.errors import BatchingError, ModelError
from batching.models.collation import Collation, Padding, as_tensor
from batching.models.contract import Collated, Placement, Staging, each_tensor
from batching.models.serving import Normalisation, Served
from batching.models.structure import split_outputs
from batching.plugins import located

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# Executors that share a model prepare it each in its own thread.
_loading = Lock()
_this_thread = local()


class TorchModel:
    """A `torch.nn.Module` that takes and returns batches of tensors `[B, ...]`.

    A payload is a tensor, a numpy array or a number, of which a batch `[B, ...]` is the module's
    argument; a dict of them, for its keywords; or a tuple of them, for its arguments. What the
    module returns is split along the batch, whatever it is made of; see `split_outputs`.

    Args:
        build: makes the module; called once, by `prepare`.
        make_input: one request's payload from a random generator, without the batch dimension.
        name: how reports call it.
        weights: a file with a state dict (`.safetensors`, or anything `torch.load` reads with
            `weights_only`), loaded into the module; None keeps its initial weights.
        normalisation: for images of bytes, `[C, H, W]` uint8: scaled on the device, in the model's
            dtype. Floating-point inputs are taken as they are.
        convolutional: most of its time goes into convolutions: in half precision on a GPU tensors
            `[B, C, H, W]` then have their channels last, unless the placement says otherwise.
        compiler: the backend of `torch.compile`, by its name or itself, for the engine "compile".
        output: which of the module's outputs is the result, by its name or index, "logits" say;
            None for all of them.
        padding: lets inputs of different length share a batch; None lets only equal shapes.
        collate: makes a batch of a list of payloads, of any kind: what `Collated.inputs` may be,
            or a `Collated`. All requests may share a batch then.

    Raises:
        ModelError: both `padding` and `collate` were given.
    """

    uses_torch = True
    compiles = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        make_input: Callable[[np.random.Generator], Any],
        *,
        name: str,
        weights: Path | None = None,
        normalisation: Normalisation | None = None,
        convolutional: bool = False,
        compiler: str | Callable[..., Any] = "inductor",
        output: str | int | None = None,
        padding: Padding | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if collate is not None and padding is not None:
            raise ModelError("padding must be left to collate where that is given, but got both")
        self.name = name
        self._output = output
        self._collate = collate
        self._collation = Collation(padding)
        self._build = build
        self._make_input = make_input
        self._weights = weights
        self._normalisation = normalisation
        self._convolutional = convolutional
        self._compiler = compiler
        self._module: nn.Module | None = None
        self._run: Callable[[Any], Any] | None = None
        self._loaded: Placement | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy, for a further device, is one that was not prepared."""
        return {**self.__dict__, "_module": None, "_run": None, "_loaded": None}

    def make_input(self, rng: np.random.Generator) -> Any:
        """One request's payload."""
        return self._make_input(rng)

    def is_channels_last(self, placement: Placement) -> bool:
        """Whether tensors `[B, C, H, W]` would have their channels last there.

        By default a convolutional model's have on a GPU in fp16 or bf16: that is what its tensor
        cores take, and from another layout cuDNN would convert at every convolution. In fp32 and
        on a CPU it depends on the model which is faster.
        """
        if placement.channels_last is not None:
            return placement.channels_last
        return self._convolutional and placement.is_cuda and placement.dtype != "fp32"

    def prepare(self, placement: Placement) -> None:
        """Build the module, load its weights and move it to the device."""
        placement = replace(placement, captured_sizes=())
        with _loading:
            if placement == self._loaded:
                return
            module = self._built()
            if self._weights is not None:
                load_state_dict(module, self._weights)
            channels_last = self.is_channels_last(placement)
            served = Served(
                module,
                DTYPES[placement.dtype],
                self._normalisation,
                output=self._output,
                channels_last=channels_last,
            )
            served = served.eval().to(placement.device, DTYPES[placement.dtype])
            if channels_last:
                cast(Any, served).to(memory_format=torch.channels_last)  # torch leaves it untyped
            self._run = served
            if placement.engine == "compile":
                _have_own_code(served)
                self._run = torch.compile(served, backend=self._compiler)
            self._module = module
            self._loaded = placement

    def _built(self) -> nn.Module:
        try:
            module = self._build()
        except BatchingError:
            raise
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise ModelError(f"{self.name} cannot be built: {located(error)}") from error
        if not isinstance(module, nn.Module):
            raise ModelError(
                f"build of {self.name} must return a torch.nn.Module, "
                f"but got {type(module).__name__}"
            )
        return module

    def lane_key(self, payload: Any) -> Hashable:
        """Inputs of other names, shapes or types never share a batch, less what is padded."""
        return None if self._collate is not None else self._collation.lane_key(payload)

    def warm_up_inputs(self) -> list[Any]:
        """One payload of each shape that batches are to be warmed up with."""
        return [self.make_input(np.random.default_rng(0))]

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Stack inputs `[...]` into `[B, ...]`, or pad them, or as the model was told to."""
        if self._collate is None:
            return self._collation.collate(payloads, staging)
        made = self._collate(list(payloads))
        return made if isinstance(made, Collated) else Collated(made)

    def run(self, inputs: Any) -> Any:
        """What the module returns for a batch, in the model's dtype, without autograd."""
        assert self._run is not None, "prepare comes before run"  # noqa: S101 - an invariant
        assert self._loaded is not None, "prepare comes before run"  # noqa: S101 - an invariant
        if self._loaded.engine == "compile":
            _run_eagerly_beside_a_compilation()
            each_tensor(inputs, self._leave_sizes_open)
        with torch.inference_mode():
            return self._run(inputs)

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One row each, or one structure of rows."""
        return split_outputs(outputs, count)

    def _open_dimensions(self) -> Sequence[int]:
        """The dimensions of inputs that vary from batch to batch."""
        return (0,) if self._collation.padding is None else (0, 1)

    def _leave_sizes_open(self, tensor: torch.Tensor) -> None:
        """Have one compilation serve all of them; torch makes a size of 1 a constant anyway."""
        for dimension in self._open_dimensions():
            if tensor.dim() > dimension:
                torch._dynamo.maybe_mark_dynamic(tensor, dimension)  # noqa: SLF001 - documented so


class TokenModel(TorchModel):
    """A module that takes padded token ids `[B, L]` and an attention mask of the same shape.

    Args:
        build: makes the module; called once, by `prepare`.
        make_input: one request's token ids, `[l]` int64, from a random generator.
        name: how reports call it.
        weights: a file with a state dict.
        length_buckets: increasing lengths; a request is padded to the first that holds it, and
            only requests of one bucket share a batch. Empty: all share, padded to the longest.
        compiler: the backend of `torch.compile`, by its name or itself, for the engine "compile".
        output: as for `TorchModel`.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        make_input: Callable[[np.random.Generator], torch.Tensor],
        *,
        name: str,
        weights: Path | None = None,
        length_buckets: Sequence[int] = (),
        compiler: str | Callable[..., Any] = "inductor",
        output: str | int | None = None,
    ) -> None:
        super().__init__(
            build, make_input, name=name, weights=weights, compiler=compiler, output=output
        )
        if list(length_buckets) != sorted({b for b in length_buckets if b > 0}):
            raise ModelError(f"length_buckets must be increasing, but got {list(length_buckets)}")
        self.length_buckets = tuple(length_buckets)

    def input_of_length(self, rng: np.random.Generator, length: int) -> torch.Tensor:
        """A made input, repeated and cut to `length` ids."""
        made: torch.Tensor = self.make_input(rng)
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
        payloads = [as_tensor(ids) for ids in payloads]
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

    def _open_dimensions(self) -> Sequence[int]:
        """Without buckets batches are of any length."""
        return (0,) if self.length_buckets else (0, 1)


def _run_eagerly_beside_a_compilation() -> None:
    """Have a batch run without its compiled code while another thread compiles.

    torch takes the tracing that is part of it, by a flag of the whole process, for one of the
    running model, and raises unless it is told not to. That is a setting of the process in some
    versions and of the thread in others.
    """
    if not getattr(_this_thread, "is_told", False):
        import torch._dynamo as dynamo

        dynamo.config.error_on_nested_fx_trace = False
        _this_thread.is_told = True


def _have_own_code(served: Served) -> None:
    """Give it a copy of its class's code.

    torch counts compilations by code, whosever they are, and after eight has it run eagerly from
    then on, without an error.
    """
    of_class = type(served).forward
    code = of_class.__code__.replace()
    own = FunctionType(code, of_class.__globals__, of_class.__name__, of_class.__defaults__)
    cast(Any, served).forward = MethodType(own, served)


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
