"""CUDA graphs of a model at a few batch sizes: a whole batch is launched by one call.

Launching some hundred kernels one by one takes the host longer than they take a fast device at
small batches; a graph replays them all. It replays exactly what was captured, addresses and shapes
included, so each size has its place in kept input buffers, and a batch is padded to the next size.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batching.errors import ModelError
from batching.execution.cuda import Cuda
from batching.execution.memory_errors import is_out_of_memory
from batching.models.contract import each_tensor

# Before a capture a batch is run this often, so that libraries have chosen and set up what they
# use: they may not while they are captured.
_RUNS_BEFORE = 2
_LINE = "\n"

# What inputs must agree in to run in one graph, their batch size apart.
Signature = tuple[tuple[tuple[Any, ...], tuple[int, ...], Any], ...]


@dataclass(frozen=True, slots=True)
class Captured:
    """One batch size of inputs of one shape.

    Attributes:
        size: the batch size.
        inputs: the tensors `[size, ...]` it reads.
        outputs: the tensors `[size, ...]` it writes.
        graph: has `replay()`.
    """

    size: int
    inputs: Any
    outputs: Any
    graph: Any

    def replay(self, count: int) -> Any:
        """Run it; the outputs `[count, ...]` of the first `count`, good until the next replay."""
        self.graph.replay()
        return each_tensor(self.outputs, lambda tensor: tensor[:count])


class Graphs:
    """The graphs of one executor, which runs one batch at a time: they share buffers and a pool.

    Args:
        cuda: the device.
        run: runs a batch that is on the device; captured.
        sizes: the batch sizes, increasing.
        name: of the model, for errors.
    """

    def __init__(
        self, cuda: Cuda, run: Callable[[Any], Any], sizes: Sequence[int], name: str
    ) -> None:
        self.sizes = tuple(sizes)
        self._cuda = cuda
        self._run = run
        self._name = name
        self._captured: dict[Signature, list[Captured]] = {}

    def capture(self, batches: Sequence[Any], stream: Any) -> None:
        """Capture every size of inputs like these.

        Args:
            batches: inputs on the host, each of the largest size, one for each shape.
            stream: what to capture on; nobody else may use it meanwhile. (torch has 32 streams
                and hands them out in turn, so a new one may be somebody's.)

        Raises:
            ModelError: the model cannot be captured.
        """
        cuda, pool = self._cuda, self._cuda.pool()
        for host in batches:
            signature = signature_of(host)
            if signature is None:
                raise self._refusal(
                    "inputs that are tensors [B, ...]", type(host).__name__, self.sizes[-1]
                )
            with cuda.on(stream):
                inputs = each_tensor(host, cuda.empty_like)
                _copy(cuda, inputs, host)
            # The largest first: the smaller ones then fit into the memory it used.
            found = [self._one(inputs, size, stream, pool) for size in reversed(self.sizes)]
            self._captured[signature] = found[::-1]
        cuda.synchronize()

    def find(self, inputs: Any) -> Captured | None:
        """The graph for a batch on the host: the next size up; None if there is none."""
        signature = signature_of(inputs)
        graphs = None if signature is None else self._captured.get(signature)
        if graphs is None:
            return None
        index = bisect_left(self.sizes, batch_size_of(inputs))
        return graphs[index] if index < len(self.sizes) else None

    def fill(self, graph: Captured, inputs: Any) -> None:
        """Have the current stream copy a batch from the host into a graph's inputs."""
        _copy(self._cuda, graph.inputs, inputs)

    def _one(self, inputs: Any, size: int, stream: Any, pool: Any) -> Captured:
        cuda = self._cuda
        views = each_tensor(inputs, lambda tensor: tensor[:size])
        try:
            with cuda.on(stream):
                for _ in range(_RUNS_BEFORE):
                    self._run(views)
            graph, outputs = cuda.capture(lambda: self._run(views), stream, pool)
        except Exception as error:
            first = _first(error)
            if is_out_of_memory(first):
                raise ModelError(
                    f"captured_batch_sizes must fit the memory of the device, but capturing "
                    f"{self._name} at {size} ran out of it"
                ) from error
            # The lines after the first are the driver's general advice.
            reason = f"{type(first).__name__}: {str(first).strip().partition(_LINE)[0][:300]}"
            raise self._refusal("operations that can be captured", reason, size) from error
        if any(_length(tensor) != size for _, tensor in _leaves(outputs)):
            raise self._refusal("outputs that are tensors [B, ...]", type(outputs).__name__, size)
        return Captured(size, views, outputs, graph)

    def _refusal(self, wanted: str, got: str, size: int) -> ModelError:
        return ModelError(
            f"engine cudagraph must have a model with {wanted}, but {self._name} at a batch of "
            f"{size} gave {got}"
        )


def _first(error: BaseException) -> BaseException:
    """What came first: ending a capture that has failed raises once more."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def signature_of(inputs: Any) -> Signature | None:
    """Names, shapes but for the batch size, and dtypes; None if these are no tensors of a batch."""
    leaves = list(_leaves(inputs))
    lengths = {_length(tensor) for _, tensor in leaves}
    if len(lengths) != 1 or lengths == {None}:
        return None
    return tuple((path, tuple(tensor.shape[1:]), tensor.dtype) for path, tensor in leaves)


def batch_size_of(inputs: Any) -> int:
    """The length of the first dimension of inputs that have a signature."""
    _, tensor = next(_leaves(inputs))
    return int(tensor.shape[0])


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, (Mapping, tuple, list)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _length(tensor: Any) -> int | None:
    shape: Sequence[int] = getattr(tensor, "shape", ())
    return int(shape[0]) if len(shape) else None


def _copy(cuda: Cuda, targets: Any, sources: Any) -> None:
    """Copy each source into the first rows of its target."""
    for (_, target), (_, source) in zip(_leaves(targets), _leaves(sources), strict=True):
        cuda.copy(target[: source.shape[0]], source)
