"""The few CUDA calls that executing a batch needs, behind a protocol that a test can stand in for.

Tensors, streams and events are torch's own (typed `Any`: torch does not type its CUDA classes).
"""

import gc
import importlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any, Protocol

from batching.errors import DeviceError

# Capturing sets the allocator of a device aside for a while: one at a time.
_capturing = Lock()

# torch has so many streams of a priority on a device, and of so many priorities at most
# (c10/cuda/CUDAStream.cpp). It hands them out in turn: a further one is the first again, and what
# one executor asks of it would go into the graph that the other captures on it.
_STREAMS, _PRIORITIES = 32, 4

# By a device's name, the streams that nobody uses, and all that were ever handed out. They are used
# again, since cuBLAS keeps a workspace (32 MiB on Hopper) for each that a thread has ever used.
_idle_streams: defaultdict[str, list[Any]] = defaultdict(list)
_streams: defaultdict[str, list[Any]] = defaultdict(list)

# Graphs whose capture was refused. torch's allocator of page-locked memory may go on asking them
# whether a stream is theirs, which a graph that is gone must not be asked.
_refused: list[Any] = []


class Event(Protocol):
    """A point in the work of a stream."""

    def record(self, stream: Any) -> None:
        """Put the point at the present end of the stream's work."""
        ...

    def query(self) -> bool:
        """Whether the work up to the point is done; true of an event that was never recorded."""
        ...

    def synchronize(self) -> None:
        """Wait until it is, asleep and without the interpreter's lock."""
        ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this point to that of `end`, once both are done."""
        ...


class Cuda(Protocol):
    """One device."""

    def stream(self) -> Any:
        """A stream that nobody else uses; it has `wait_event(event)`.

        Raises:
            DeviceError: all of the device's are in use.
        """
        ...

    def give_back(self, stream: Any) -> None:
        """Let a stream be somebody else's; what is still waiting on it is done before."""
        ...

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Within it, what this thread asks of the device goes to that stream."""
        ...

    def event(self, *, timed: bool = False) -> Event:
        """A new event, waited for without spinning."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A tensor on the device."""
        ...

    def empty_like(self, tensor: Any) -> Any:
        """A tensor on the device, laid out as `tensor` is."""
        ...

    def pinned(self, count: int, dtype: Any) -> Any:
        """A flat page-locked tensor on the host."""
        ...

    def pinned_like(self, tensor: Any) -> Any:
        """A page-locked tensor on the host, laid out as `tensor` is."""
        ...

    def copy(self, target: Any, source: Any) -> None:
        """Have the current stream copy, and return at once where one side is page-locked."""
        ...

    def pool(self) -> Any:
        """A memory pool that several graphs may share."""
        ...

    def capturing(self) -> AbstractContextManager[Any]:
        """Within it, nobody else captures: needed to capture, and to wait for the whole device."""
        ...

    def capture(self, run: Callable[[], Any], stream: Any, pool: Any) -> tuple[Any, Any]:
        """What `run` asks of the device as a graph, which has `replay()`, and what it returned."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has nothing to do; only while nobody captures."""
        ...

    def free_bytes(self) -> int:
        """Memory of the device that nobody has, with nothing kept back by the allocator."""
        ...


class TorchCuda:
    """A CUDA device through torch 2.6 or later.

    Args:
        device: "cuda:<index>".
    """

    def __init__(self, device: str) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._cuda: Any = self._torch.cuda
        self._device = self._torch.device(device)

    def stream(self) -> Any:
        """One that was given back, or else a new one."""
        idle, known = _idle_streams[str(self._device)], _streams[str(self._device)]
        if idle:
            return idle.pop()
        # Others take streams too, so that the next one may not be new. A higher priority does no
        # harm: it is which of two kernels that wait for room starts first.
        for turn in range(_STREAMS * _PRIORITIES):
            stream = self._cuda.Stream(self._device, priority=-(turn // _STREAMS))
            if stream not in known:
                known.append(stream)
                return stream
        gc.collect()  # an executor that nobody has any more may not have been found yet
        if idle:
            return idle.pop()
        raise DeviceError(
            f"{self._device} must have a stream for every replica (two, or three with in_flight "
            f"2), but all of its {len(known)} are in use: ask for fewer replicas"
        )

    def give_back(self, stream: Any) -> None:
        """Keep it for who asks next."""
        _idle_streams[str(self._device)].append(stream)

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """That stream, and its device, as the current ones."""
        context: AbstractContextManager[Any] = self._cuda.stream(stream)
        return context

    def event(self, *, timed: bool = False) -> Event:
        """A blocking event: `synchronize` sleeps on an interrupt of the driver."""
        event: Event = self._cuda.Event(enable_timing=timed, blocking=True)
        return event

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Uninitialised."""
        return self._torch.empty(shape, dtype=dtype, device=self._device)

    def empty_like(self, tensor: Any) -> Any:
        """Uninitialised."""
        return self._torch.empty_like(tensor, device=self._device, pin_memory=False)

    def pinned(self, count: int, dtype: Any) -> Any:
        """Uninitialised."""
        with self._cuda.device(self._device):
            return self._torch.empty(count, dtype=dtype, pin_memory=True)

    def pinned_like(self, tensor: Any) -> Any:
        """Uninitialised, from torch's caching allocator: pages are locked once, not every batch."""
        with self._cuda.device(self._device):
            return self._torch.empty_like(tensor, device="cpu", pin_memory=True)

    def copy(self, target: Any, source: Any) -> None:
        """`copy_` that does not wait."""
        target.copy_(source, non_blocking=True)

    def pool(self) -> Any:
        """A handle that names it."""
        return self._cuda.graph_pool_handle()

    def capturing(self) -> AbstractContextManager[Any]:
        """A lock of the process."""
        return _capturing

    def capture(self, run: Callable[[], Any], stream: Any, pool: Any) -> tuple[Any, Any]:
        """Capture, letting other threads use the device meanwhile.

        The mode "thread_local" forbids unsafe calls (cudaMalloc, say) to this thread alone: other
        replicas may be at work.
        """
        graph = self._cuda.CUDAGraph()
        try:
            # torch's own context leaves the stream current where ending the capture fails.
            with self.on(stream), self._capture_into(graph, stream, pool):
                outputs = run()
        except BaseException:
            self._leave_capture(graph, stream, pool)
            raise
        return graph, outputs

    def _capture_into(self, graph: Any, stream: Any, pool: Any = None) -> Any:
        return self._cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")

    def _leave_capture(self, graph: Any, stream: Any, pool: Any) -> None:
        """Bring torch out of a capture that was refused.

        `CUDAGraph::capture_end` (ATen/cuda/CUDAGraph.cpp) used to check the result of
        cudaStreamEndCapture before it told the allocator that the capture is over; torch 2.13 tells
        it first (pytorch#180395). Until the process ends `empty_cache` then fails on
        "captures_underway.empty()", and the pool counts a graph too many (pytorch#190348), so that
        its memory is never given back.
        Where torch has told it, the allocator says so here, and the count is left to torch: one
        that is too low would free the memory of other graphs. (2.13 itself keeps the pool.)
        """
        own = self._torch._C  # noqa: SLF001 - torch has no public way out of this
        end = getattr(own, "_cuda_endAllocateToPool", None)
        if end is None:  # its name before 2.8
            end = own._cuda_endAllocateCurrentStreamToPool  # noqa: SLF001 - as above
        try:
            end(self._device.index, pool)
        except RuntimeError:  # not currently recording to it
            pass
        else:
            own._cuda_releasePool(self._device.index, pool)  # noqa: SLF001 - as above
            _refused.append(graph)
        # The generator of random numbers was put into its mode for captures as this one began, and
        # comes out of it at the end of one that succeeds (capture_epilogue): a small one does.
        small = self.empty((1,), self._torch.float32)
        with self.on(stream), self._capture_into(self._cuda.CUDAGraph(), stream):
            small.zero_()

    def synchronize(self) -> None:
        """All streams of the device."""
        self._cuda.synchronize(self._device)

    def free_bytes(self) -> int:
        """By the driver, so that what graphs take outside of torch's allocator counts too."""
        gc.collect()
        with self._cuda.device(self._device):
            self._cuda.empty_cache()
            free: int = self._cuda.mem_get_info(self._device)[0]
        return free
