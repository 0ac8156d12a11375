"""Running one batch on a device, with a time stamp at each step."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from typing import Any, Protocol

from batching.clock import Clock
from batching.models.contract import CallableModel, Model, Placement
from batching.request import BatchRecord


class Executor(Protocol):
    """Runs batches of one model on one device, one at a time.

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

    def execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """Run one batch and return one result for each payload, in order.

        Sets `staged_s`, `started_s`, `completed_s`, `device_s` and the element counts of `batch`.
        """
        ...


class _TimedExecutor:
    """What executors share: being loaded once, and remembering how long the first times took."""

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
        """Run one batch, as `Executor.execute` says."""
        if not isnan(self.first_execution_s):
            return self._execute(payloads, batch)
        began_s = self._now()
        results = self._execute(payloads, batch)
        self.first_execution_s = self._now() - began_s
        return results

    def _load(self) -> None:
        raise NotImplementedError

    def _execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        raise NotImplementedError


class HostExecutor(_TimedExecutor):
    """Executes on the host: CPU models, plain functions, synthetic models."""

    def _load(self) -> None:
        """Load the model, leaving a core to the batcher."""
        if self.model.uses_torch:
            from batching.devices import reserve_batcher_core
            from batching.staging import HostStaging

            reserve_batcher_core()
            self._staging = HostStaging()
        self.model.prepare(self.placement)

    def _execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """Collate, run, split. The host is the device: staged is started."""
        model, now = self.model, self._now
        collated = model.collate(payloads, self._staging)
        batch.staged_s = batch.started_s = now()
        outputs = model.run(collated.inputs)
        batch.completed_s = now()
        batch.real_elements = collated.real_elements
        batch.padded_elements = collated.padded_elements
        return model.split(outputs, len(payloads))


class CudaExecutor(_TimedExecutor):
    """Executes on one GPU: pinned staging, copies and kernels on a stream of its own.

    The host thread waits on a blocking event, so it neither spins nor holds the GIL.
    """

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

    def _execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """Collate into pinned memory, copy, run, copy back, wait for the event."""
        torch, now = self._torch, self._now
        collated = self.model.collate(payloads, self._staging)
        with torch.cuda.stream(self._stream):
            inputs = _each_tensor(
                collated.inputs, lambda t: t.to(self.placement.device, non_blocking=True)
            )
            batch.staged_s = batch.started_s = now()
            self._begin.record()
            outputs = self.model.run(inputs)
            self._end.record()
            host = _each_tensor(outputs, self._to_host)
            self._done.record()
        self._done.synchronize()
        batch.completed_s = now()
        batch.device_s = self._begin.elapsed_time(self._end) / 1e3
        batch.real_elements = collated.real_elements
        batch.padded_elements = collated.padded_elements
        return self.model.split(host, len(payloads))

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
