"""A model in an ONNX file, run by ONNX Runtime."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from batching.errors import DeviceError, ModelError, WrongOutputCountError, first_paragraph
from batching.models.collation import PayloadError
from batching.models.contract import Collated, Placement, Staging
from batching.models.structure import OwnRows, split_outputs
from batching.plugins import split_onnx

_ERRORS_ONLY = 3
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{f"tensor({name})": np.dtype(name).type for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": np.dtype(name).type for name in ("uint8", "uint16", "uint32", "uint64")},
}


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the file's graph, as one request has it.

    Attributes:
        name: its name.
        shape: `[...]`, without the batch dimension.
        dtype: of its elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any

    def make(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Normal numbers, bytes for uint8, and ones for other whole numbers: ids, masks."""
        if np.issubdtype(self.dtype, np.floating):
            return rng.standard_normal(self.shape).astype(self.dtype)
        if self.dtype is np.uint8:
            return rng.integers(0, 256, size=self.shape, dtype=np.uint8)
        return np.ones(self.shape, dtype=self.dtype)


class OnnxModel:
    """An ONNX file whose inputs have a dynamic first axis, the batch.

    A payload is an array for a file of one input, or a dict of arrays by the inputs' names; a
    result is a row of the output, or a dict of rows by the outputs' names.

    Args:
        path: the file.
        axes: the size of each further dynamic axis in made inputs, by its name in the file, or as
            "input.1" where it has none.

    Raises:
        ModelError: there is no such file, or no ONNX Runtime.
    """

    uses_torch = True  # it has a device and a number of threads, as models of torch have
    copies_itself = True
    packages = ("onnxruntime",)

    def __init__(self, path: Path, axes: Mapping[str, int] | None = None) -> None:
        if not path.is_file():
            raise ModelError(f"model file must exist, but got {str(path)!r}")
        if find_spec("onnxruntime") is None:
            raise ModelError(
                "model onnx:FILE must have ONNX Runtime, which is not installed: "
                "pip install 'dynbatch[onnx]', or onnxruntime-gpu for a GPU"
            )
        self.name = path.name
        self._path = path
        self._axes = dict(axes or {})
        self._inputs: list[Input] | None = None
        self._session: Any = None
        self._placement: Placement | None = None
        self._loading = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """A copy, for a further device, is one that was not prepared."""
        return {**self.__dict__, "_session": None, "_placement": None, "_loading": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _loading=Lock())

    @property
    def inputs(self) -> list[Input]:
        """What the file takes; read when first asked for.

        Raises:
            ModelError: it cannot be read, an input is no tensor of numbers with a dynamic first
                axis, or the size of another dynamic axis was not given.
        """
        if self._inputs is None:
            session = self._session or self._opened(["CPUExecutionProvider"], threads=1)
            self._inputs = self._read(session.get_inputs())
        return self._inputs

    def make_input(self, rng: np.random.Generator) -> Any:
        """An array `[...]`, or one for each input by its name."""
        made = {one.name: one.make(rng) for one in self.inputs}
        return made if len(made) > 1 else made[self.inputs[0].name]

    def lane_key(self, payload: Any) -> Hashable:
        """Inputs of different shape never share a batch."""
        parts: list[Any] = [payload]
        if isinstance(payload, Mapping):
            parts = [payload.get(one.name) for one in self.inputs]
        return tuple(map(np.shape, parts))

    def prepare(self, placement: Placement) -> None:
        """Open the file with the device's provider.

        Raises:
            ModelError: the file cannot be used, or a number format other than its own was asked.
            DeviceError: ONNX Runtime cannot use the device.
        """
        with self._loading:
            if placement == self._placement:
                return
            if placement.dtype != "fp32":
                raise ModelError(
                    f"dtype of an ONNX model is that of its file and must be left at fp32, but got "
                    f"{placement.dtype}"
                )
            self._session = self._opened(_providers(placement), threads=_threads(placement))
            self._inputs = self._read(self._session.get_inputs())
            self._placement = placement

    def collate(self, payloads: Sequence[Any], staging: Staging) -> Collated:
        """Stack `[...]` into `[B, ...]` for each input.

        Raises:
            PayloadError: a payload does not have the inputs of the file.
        """
        return Collated(
            {
                one.name: np.stack(
                    [np.asarray(self._input(payload, one), one.dtype) for payload in payloads]
                )
                for one in self.inputs
            }
        )

    def run(self, inputs: Any) -> Any:
        """The file's outputs, in its order."""
        return self._session.run(None, inputs)

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """A row each, or a dict of rows by the outputs' names."""
        names = [one.name for one in self._session.get_outputs()]
        if len(names) == 1:
            return _column(names[0], outputs[0], count)
        columns = [
            _column(name, output, count) for name, output in zip(names, outputs, strict=True)
        ]
        return OwnRows(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    def _input(self, payload: Any, one: Input) -> Any:
        if not isinstance(payload, Mapping) and len(self.inputs) == 1:
            return payload
        if not isinstance(payload, Mapping) or one.name not in payload:
            got = ", ".join(payload) if isinstance(payload, Mapping) else type(payload).__name__
            raise PayloadError(
                f"payload must be a dict with {', '.join(i.name for i in self.inputs)}, "
                f"but got {got}"
            )
        return payload[one.name]

    def _opened(self, providers: Sequence[Any], *, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        try:
            return onnxruntime.InferenceSession(
                str(self._path), sess_options=options, providers=providers
            )
        except Exception as error:  # it has a class of its own for each of many reasons
            raise ModelError(
                f"model file must be one that ONNX Runtime can open, but {str(self._path)!r} "
                f"gave {first_paragraph(error)}"
            ) from error

    def _read(self, described: Sequence[Any]) -> list[Input]:
        unknown = dict(self._axes)
        found = [self._read_one(one, unknown) for one in described]
        if unknown:
            raise ModelError(
                f"an axis with a size must be a dynamic one of {self.name}, but got "
                f"{', '.join(unknown)}"
            )
        return found

    def _read_one(self, described: Any, unknown: dict[str, int]) -> Input:
        name, shape = described.name, list(described.shape)
        if described.type not in _DTYPES:
            raise ModelError(
                f"input {name!r} of {self.name} must be a tensor of numbers, "
                f"but is {described.type}"
            )
        if not shape or isinstance(shape[0], int):
            got = f"is fixed at {shape[0]}" if shape else "it has none"
            raise ModelError(
                f"input {name!r} of {self.name} must have a dynamic first axis, the batch, but "
                f"{got}: export it with one (dynamic_axes or dynamic_shapes of torch.onnx.export)"
            )
        sizes = []
        for index, size in enumerate(shape[1:], start=1):
            axis = size if isinstance(size, str) else f"{name}.{index}"
            if not isinstance(size, int):
                if axis not in self._axes:
                    raise ModelError(
                        f"axis {axis!r} of input {name!r} of {self.name} must be given a size, as "
                        f"onnx:{self._path}:{axis}=128"
                    )
                unknown.pop(axis, None)
                size = self._axes[axis]  # noqa: PLW2901 - the size that stands for it
            sizes.append(size)
        return Input(name, tuple(sizes), _DTYPES[described.type])


def parse_onnx(argument: str) -> OnnxModel:
    """The model that `FILE` or `FILE:axis=size,axis=size` names, what follows `onnx:`.

    Raises:
        ModelError: it is none of these, or as `OnnxModel`.
    """
    file, text = split_onnx(argument)
    axes = {}
    for part in filter(None, text.split(",")):
        axis, _, size = part.partition("=")
        if not (size.isdecimal() and int(size) > 0):
            raise ModelError(f"model onnx takes FILE:axis=size,..., but got {argument!r}")
        axes[axis.strip()] = int(size)
    return OnnxModel(Path(file), axes)


def _column(name: str, output: Any, count: int) -> Sequence[Any]:
    """One output's piece for each request."""
    if isinstance(output, list):  # a sequence of maps, as classifiers of scikit-learn have
        if len(output) != count:
            raise WrongOutputCountError(
                f"output {name!r} must have {count} items, one for each request, "
                f"but got {len(output)}"
            )
        return output
    return split_outputs(output, count)


def _providers(placement: Placement) -> list[Any]:
    import onnxruntime

    if not placement.is_cuda:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"device {placement.device} must be one that ONNX Runtime can use, but the installed "
            "one has no CUDA provider: install onnxruntime-gpu, or --device cpu"
        )
    index = int(placement.device.partition(":")[2])
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _threads(placement: Placement) -> int:
    """As many as torch has where the model runs on the CPU; 0, its own choice, on a GPU."""
    if placement.is_cuda:
        return 0
    import torch

    return torch.get_num_threads()
