"""Executing batches on one GPU, so that it need not wait between them.

Each executor copies on a stream of its own; the executors of one worker run the model on one
stream that they share. With two of them a batch is collated, copied and launched while the one
before it still runs, and starts when that ends, without the host in between:

    copy stream of A    in |              | out            in |
    shared stream          | run A        | run B             | run A
    copy stream of B          in |                            | out
"""

import weakref
from dataclasses import dataclass
from math import isnan
from typing import Any

from batching.clock import Clock
from batching.execution.cuda import Cuda, Event
from batching.execution.executor import Steps
from batching.execution.graphs import Captured, Graphs
from batching.models.contract import Model, Placement, each_tensor, sample_payloads
from batching.request import BatchRecord


class SharedStream:
    """Where the executors of one worker run the model; used by one of them at a time.

    Attributes:
        stream: a CUDA stream.
        last: the end of what was launched last; None before.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.stream = _own_stream(self, cuda)
        self.last: Event | None = None

    @property
    def is_busy(self) -> bool:
        """Whether what is launched now has to wait for another batch."""
        return self.last is not None and not self.last.query()


@dataclass(frozen=True, slots=True)
class _Staged:
    """A batch on its way to the device; `inputs` are kept until it has run."""

    inputs: Any
    size: int
    graph: Captured | None


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch that was launched. `outputs` are kept until they have been copied to `host`."""

    staged: _Staged
    outputs: Any
    host: Any
    queued: bool


class CudaExecutor(Steps):
    """Executes on one GPU: copies, kernels and copies back are asked for and not waited for.

    The host waits for the end of a batch alone, by a blocking event: it neither spins nor holds
    the interpreter's lock.

    Args:
        model: what runs; its outputs are tensors, or mappings, tuples or lists of them.
        placement: on which device, and by which engine.
        clock: for the time stamps.
        cuda: the device's calls.
        shared: the stream of the executor's worker; None for one of its own.
    """

    def __init__(
        self,
        model: Model,
        placement: Placement,
        clock: Clock,
        cuda: Cuda,
        shared: SharedStream | None = None,
    ) -> None:
        super().__init__(model, placement, clock)
        self._cuda = cuda
        self._shared = shared or SharedStream(cuda)
        self._copying = _own_stream(self, cuda)
        self._copied = cuda.event()
        self._begin = cuda.event(timed=True)
        self._end = cuda.event(timed=True)
        self._done = cuda.event(timed=True)
        self._graphs: Graphs | None = None

    def sibling(self) -> "CudaExecutor":
        """One that copies on a stream of its own and runs on this one's."""
        return CudaExecutor(self.model, self.placement, self._clock, self._cuda, self._shared)

    def stage(self, payloads: Any, batch: BatchRecord) -> _Staged:
        """Collate into page-locked buffers and ask for the copies to the device."""
        ring, cuda = self._staging, self._cuda
        ring.turn()
        inputs = super().stage(payloads, batch)
        graph = None if self._graphs is None else self._graphs.find(inputs)
        with cuda.on(self._copying):
            try:
                if graph is None:
                    on_device = each_tensor(inputs, self._to_device)
                else:
                    on_device = graph.inputs
                    self._graphs.fill(graph, inputs)  # type: ignore[union-attr] # a graph's owner
                    _count_padding(batch, len(payloads), graph.size)
            finally:
                ring.copied(self._copying)
            self._copied.record(self._copying)
        return _Staged(on_device, len(payloads), graph)

    def launch(self, staged: _Staged, batch: BatchRecord) -> _Running:
        """Ask for the model's kernels, behind the copies, and for the outputs, behind them."""
        cuda, shared = self._cuda, self._shared
        queued = shared.is_busy
        with cuda.on(shared.stream):
            shared.stream.wait_event(self._copied)
            self._begin.record(shared.stream)
            if staged.graph is not None:
                outputs = staged.graph.replay(staged.size)
            else:
                self.uncaptured += self._graphs is not None
                outputs = self.model.run(staged.inputs)
            self._end.record(shared.stream)
        shared.last = self._end
        with cuda.on(self._copying):
            self._copying.wait_event(self._end)
            host = each_tensor(outputs, self._to_host)
            self._done.record(self._copying)
        return _Running(staged, outputs, host, queued)

    def finish(self, running: _Running, batch: BatchRecord) -> Any:
        """Sleep until the outputs are on the host."""
        self._done.synchronize()
        batch.completed_s = self._now()
        batch.device_s = self._begin.elapsed_time(self._end) / 1e3
        if running.queued:
            # By the device: the host asked for it while another batch was still running.
            taken_s = self._begin.elapsed_time(self._done) / 1e3
            batch.started_s = max(batch.started_s, batch.completed_s - taken_s)
        return running.host

    def close(self) -> None:
        """Let go of graphs, their memory and the page-locked buffers."""
        super().close()
        self._graphs = None

    def _load(self) -> None:
        from batching.execution.devices import collate_in_one_thread
        from batching.execution.staging import PinnedRing

        self.model.prepare(self.placement)
        collate_in_one_thread()
        # CUDA forbids to wait for a device on which another executor is capturing meanwhile.
        with self._cuda.capturing():
            self._cuda.synchronize()
        self._staging = PinnedRing(self._cuda)

    def _make_engine(self) -> bool:
        sizes = self.placement.for_batches(1).captured_sizes
        if not sizes:
            return super()._make_engine()
        from batching.execution.staging import HostStaging

        graphs = Graphs(self._cuda, self.model.run, sizes, self.model.name)
        with self._cuda.capturing():
            free_bytes = self._cuda.free_bytes()
            graphs.capture(
                [
                    self.model.collate([payload] * sizes[-1], HostStaging()).inputs
                    for payload in sample_payloads(self.model)
                ],
                self._copying,
            )
            self.engine_bytes = max(0, free_bytes - self._cuda.free_bytes())
        self._graphs = graphs
        return True

    def _to_device(self, tensor: Any) -> Any:
        target = self._cuda.empty_like(tensor)
        self._cuda.copy(target, tensor)
        return target

    def _to_host(self, tensor: Any) -> Any:
        # Fresh, because callers keep views of it.
        host = self._cuda.pinned_like(tensor)
        self._cuda.copy(host, tensor)
        return host


def _own_stream(owner: Any, cuda: Cuda) -> Any:
    """A stream that goes back when its owner does."""
    stream = cuda.stream()
    weakref.finalize(owner, cuda.give_back, stream)
    return stream


def _count_padding(batch: BatchRecord, size: int, padded_size: int) -> None:
    """Rows that were added up to a captured size are padding too; a row counts 1 by itself."""
    if isnan(batch.real_elements) or isnan(batch.padded_elements):
        batch.real_elements = batch.padded_elements = float(size)
    batch.padded_elements *= padded_size / size
