"""A CUDA device on the CPU, as late as a real one may be.

What is put on a stream runs only when somebody waits for it, so a buffer that is written to before
it was copied gives wrong results here every time. Kernels alone run when they are asked for, since
their outputs are needed: `kernel` first lets everything before them on their stream happen.
"""

import threading
from collections import deque
from contextlib import contextmanager

import torch

from batching.models.contract import each_tensor

COPY_S, KERNEL_S = 1e-3, 5e-3


class Stream:
    def __init__(self):
        self.waiting = deque()
        self.draining = False

    def wait_event(self, event):
        marker = event.marker
        if marker is not None:
            self.waiting.append(marker.reach)

    def run_until(self, done):
        self.draining = True
        try:
            while self.waiting and not done():
                self.waiting.popleft()()
        finally:
            self.draining = False


class Marker:
    def __init__(self, cuda, stream):
        self.cuda, self.stream, self.at_s = cuda, stream, None
        stream.waiting.append(self.hit)

    def hit(self):
        self.at_s = self.cuda.device_s

    def done(self):
        return self.at_s is not None

    def reach(self):
        if not self.done():
            self.stream.run_until(self.done)


class Event:
    def __init__(self, cuda):
        self.cuda, self.marker = cuda, None

    def record(self, stream):
        with self.cuda.lock:
            self.marker = Marker(self.cuda, stream)

    def query(self):
        return self.marker is None or self.marker.done()

    def synchronize(self):
        with self.cuda.lock:
            if self.marker is not None:
                self.marker.reach()

    def elapsed_time(self, end):
        return (end.marker.at_s - self.marker.at_s) * 1e3


class Graph:
    def __init__(self, cuda, run, outputs):
        self.cuda, self.run, self.outputs = cuda, run, outputs

    def replay(self):
        self.cuda.replays += 1
        self.cuda.put(self._happen)

    def _happen(self):
        with torch.inference_mode():
            fresh = [self.run()]
            each_tensor([self.outputs], lambda kept: kept.copy_(_pop(fresh)))


def _pop(fresh):
    return fresh.pop()


class FakeCuda:
    """Attributes count what was asked for: tensors on the device, pinned blocks, replays."""

    def __init__(self):
        self.lock = threading.RLock()
        self.device_s = 0.0
        self.on_device = self.pinned_blocks = self.replays = self.pinned_results = 0
        self.capture_error = None
        self.captured = []
        self.given_back = []
        self._here = threading.local()

    def stream(self):
        return Stream()

    def give_back(self, stream):
        self.given_back.append(stream)

    @contextmanager
    def on(self, stream):
        before, self._here.stream = getattr(self._here, "stream", None), stream
        try:
            yield
        finally:
            self._here.stream = before

    def event(self, *, timed=False):
        return Event(self)

    def put(self, operation):
        with self.lock:
            self._here.stream.waiting.append(operation)

    def kernel(self):
        """What a model's kernels do: come after all that is before them on their stream."""
        with self.lock:
            stream = getattr(self._here, "stream", None)
            if stream is not None and not stream.draining:
                stream.run_until(lambda: False)
            self.device_s += KERNEL_S

    def empty_like(self, tensor):
        self.on_device += 1
        return torch.full_like(tensor, 99)

    def pinned(self, count, dtype):
        self.pinned_blocks += 1
        return torch.empty(count, dtype=dtype)

    def pinned_like(self, tensor):
        self.pinned_results += 1
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    def copy(self, target, source):
        def happen():
            self.device_s += COPY_S
            target.copy_(source)

        self.put(happen)

    def pool(self):
        return object()

    def capturing(self):
        return self.lock

    def capture(self, run, stream, pool):
        if self.capture_error is not None:
            raise self.capture_error
        with self.on(stream):
            outputs = run()
        self.captured.append(pool)
        return Graph(self, run, outputs), outputs

    def synchronize(self):
        pass

    def free_bytes(self):
        return 10_000 - 100 * len(self.captured)
