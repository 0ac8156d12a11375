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

# Capturing sets the allocator of a device aside for a while: one at a time.
_capturing = Lock()

# Streams of a device, by its name, that nobody uses. torch has 32 a device and hands them out in
# turn, so that of many made one after the other some would be the same; and cuBLAS keeps a
# workspace (32 MiB on Hopper) for each stream that a thread has ever used.
_idle_streams: defaultdict[str, list[Any]] = defaultdict(list)


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
        """A stream that nobody else uses; it has `wait_event(event)`."""
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
        try:
            return _idle_streams[str(self._device)].pop()
        except IndexError:
            return self._cuda.Stream(self._device)

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
        with (
            # torch's own context leaves the stream current where ending the capture fails.
            self.on(stream),
            self._cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            outputs = run()
        return graph, outputs

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
