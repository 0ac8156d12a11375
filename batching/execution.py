"""Running one batch on a device, with a time stamp at each step."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from typing import Any, Protocol

from batching.clock import Clock
from batching.errors import WrongOutputCountError
from batching.models.contract import CallableModel, Model, Placement
from batching.request import BatchRecord


class Executor(Protocol):
    """Runs batches of one model on one device, in three steps, so that two batches may overlap.

    One thread uses an executor; several executors may share a model and a device, whose `run` is
    then called by one thread at a time.

    Attributes:
        load_s: how long `prepare` took; nan before it.
        first_execution_s: how long the very first `execute` took; nan before it.
    """

    model: Model
    placement: Placement
    load_s: float
    first_execution_s: float

    def prepare(self) -> None:
        """Load the model; free if it is loaded."""
        ...

    def stage(self, payloads: Sequence[Any], batch: BatchRecord) -> Any:
        """Collate a batch and get its inputs under way to the device."""
        ...

    def run(self, inputs: Any, batch: BatchRecord) -> Any:
        """Run the staged batch to its end; the outputs are on the host when this returns."""
        ...

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One result for each payload, in order."""
        ...

    def execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """All three steps at once; sets the time stamps of `batch`."""
        ...


class _Steps:
    """What executors share: being loaded once, stamping, remembering the first times."""

    def __init__(self, model: Model, placement: Placement, clock: Clock) -> None:
        self.model = model
        self.placement = placement
        self.load_s = nan
        self.first_execution_s = nan
        self._now = clock.now
        self._staging: Any = None

    def prepare(self) -> None:
        """Load the model; free if it is loaded."""
        if isnan(self.load_s):
            began_s = self._now()
            self._load()
            self.load_s = self._now() - began_s

    def execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """Stage, run, split; stamps `staged_s`, `started_s`, `completed_s`."""
        began_s = self._now()
        inputs = self.stage(payloads, batch)
        batch.staged_s = batch.started_s = self._now()
        outputs = self.run(inputs, batch)
        batch.completed_s = self._now()
        results = self.split(outputs, len(payloads))
        if isnan(self.first_execution_s):
            self.first_execution_s = self._now() - began_s
        return results

    def stage(self, payloads: Sequence[Any], batch: BatchRecord) -> Any:
        """Collate, count elements, copy."""
        collated = self.model.collate(payloads, self._staging)
        if collated.real_elements is not None:
            batch.real_elements = float(collated.real_elements)
        if collated.padded_elements is not None:
            batch.padded_elements = float(collated.padded_elements)
        return self._to_device(collated.inputs)

    def run(self, inputs: Any, batch: BatchRecord) -> Any:
        """Run to the end."""
        raise NotImplementedError

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One result for each payload; a model that breaks that promise is told so."""
        results = self.model.split(outputs, count)
        if isinstance(results, (str, bytes, Mapping)) or not hasattr(results, "__len__"):
            raise WrongOutputCountError(
                f"the model must return a sequence of {count} results, "
                f"but got {type(results).__name__}"
            )
        if len(results) != count:
            raise WrongOutputCountError(
                f"the model must return {count} results, but got {len(results)}"
            )
        return results

    def _load(self) -> None:
        raise NotImplementedError

    def _to_device(self, inputs: Any) -> Any:
        return inputs


class HostExecutor(_Steps):
    """Executes on the host: CPU models, plain functions, synthetic models."""

    def run(self, inputs: Any, batch: BatchRecord) -> Any:
        """Run the model in this thread."""
        return self.model.run(inputs)

    def _load(self) -> None:
        """Load the model, leaving a core to the batcher."""
        if self.model.uses_torch:
            from batching.devices import reserve_batcher_core
            from batching.staging import HostStaging

            reserve_batcher_core()
            self._staging = HostStaging()
        self.model.prepare(self.placement)


class CudaExecutor(_Steps):
    """Executes on one GPU: pinned staging, copies and kernels on a stream of its own.

    The host thread waits on a blocking event, so it neither spins nor holds the GIL. Another
    executor's copies may run on its own stream meanwhile.
    """

    def run(self, inputs: Any, batch: BatchRecord) -> Any:
        """Run, copy the outputs back, wait for the event."""
        with self._torch.cuda.stream(self._stream):
            self._begin.record()
            outputs = self.model.run(inputs)
            self._end.record()
            host = _each_tensor(outputs, self._to_host)
            self._done.record()
        self._done.synchronize()
        batch.device_s = self._begin.elapsed_time(self._end) / 1e3
        return host

    def _load(self) -> None:
        """Load the model; make the stream, the events and the staging buffers."""
        torch: Any = importlib.import_module("torch")  # its CUDA classes are not typed
        from batching.staging import PinnedStaging

        self._torch: Any = torch
        device = torch.device(self.placement.device)
        self._stream = torch.cuda.Stream(device)
        self._begin = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._done = torch.cuda.Event(blocking=True)
        self.model.prepare(self.placement)
        torch.cuda.synchronize(device)
        self._staging = PinnedStaging()

    def _to_device(self, inputs: Any) -> Any:
        with self._torch.cuda.stream(self._stream):
            return _each_tensor(inputs, lambda t: t.to(self.placement.device, non_blocking=True))

    def _to_host(self, tensor: Any) -> Any:
        # A fresh pinned block from torch's caching allocator: callers keep views of it.
        host = self._torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        return host


def make_executor(
    run: "Model | Callable[[list[Any]], Sequence[Any]]", placement: Placement, clock: Clock
) -> Executor:
    """The executor for a model, or for a plain function of a list of payloads."""
    model = run if isinstance(run, Model) else CallableModel(run)
    if placement.is_cuda and model.uses_torch:
        return CudaExecutor(model, placement, clock)
    return HostExecutor(model, placement, clock)


def _each_tensor(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply `function` to a tensor, or to each tensor of a mapping, tuple or list."""
    if isinstance(value, Mapping):
        return {key: _each_tensor(item, function) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_each_tensor(item, function) for item in value)
    return function(value)
