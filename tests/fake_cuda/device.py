"""Streams, events, graphs and memory of a device that is the CPU.

A stream is a queue: what is put on it happens only when somebody waits for it, so that a buffer
that is written to before it was copied gives wrong results every time. Kernels alone happen when
they are asked for, since their outputs' shapes are needed: everything before them on their stream
happens first. Time on the device is counted, not measured.
"""

import threading
import time
from collections import Counter, deque
from contextlib import contextmanager

import torch

KERNEL_S, COPY_S = 5e-6, 1e-6
SLEEP_S_PER_CYCLE = 1e-10
STREAMS, PRIORITIES = 32, 4
_CONTEXT_BYTES = 600 << 20
_H200_BYTES = 150_754_820_096
_CAPTURING = "CUDA error: operation not permitted when stream is capturing"
_INVALID = "CUDA error: operation failed due to a previous error during capture"
_UNDERWAY = "captures_underway.empty() INTERNAL ASSERT FAILED, please report a bug to PyTorch."


def cuda_error(message):
    """As torch raises what CUDA returns: a class of its own since 2.8."""
    return getattr(torch, "AcceleratorError", RuntimeError)(message)


class Queue:
    """What streams of one number share; `capture` is the graph that is recorded on it."""

    def __init__(self, device):
        self.device, self.waiting, self.capture, self.draining = device, deque(), None, False

    def put(self, operation):
        with self.device.lock:
            if self.capture is None:
                self.waiting.append(operation)
            else:
                self.capture.operations.append(operation)

    def run_until(self, done=lambda: False):
        with self.device.lock:
            self.draining, before = True, self.draining
            try:
                while self.waiting and not done():
                    self.waiting.popleft()()
            finally:
                self.draining = before


class Mark:
    """One recording of an event."""

    def __init__(self, queue):
        self.queue, self.at_s, self.captured = queue, None, queue.capture
        queue.put(self.hit)

    def hit(self):
        self.at_s = self.queue.device.clock_s

    def is_done(self):
        return self.at_s is not None

    def reach(self):
        if not self.is_done():
            self.queue.run_until(self.is_done)


class Pool:
    """Memory of graphs; those of one pool are counted, and it is kept until none is left."""

    def __init__(self):
        self.live = self.reserved = self.graphs = 0


class Block:
    """A piece of the device's memory, in a pool where it was taken during a capture."""

    def __init__(self, device, size):
        self.device, self.size = device, 0
        self.pool = device.take(-(-size // 512) * 512)
        self.size = -(-size // 512) * 512

    def __del__(self):
        if self.size:
            self.device.free(self)


class Device:
    """Attributes that tests read, and some that they set.

    Attributes:
        host_syncs: why the host waited for it, one entry each time.
        cold: (thread, operation, shape) of convolutions whose plan that thread had not yet.
        pinned_blocks: page-locked blocks that were made.
        replays: of graphs. captured: the pool of each graph.
        refused_like: the version of torch that a refused capture is left as by.
        total_bytes: its memory.
    """

    def __init__(self, index):
        self.index = index
        self.lock = threading.RLock()
        self.clock_s = 0.0
        self.default = Queue(self)
        self.queues = [Queue(self) for _ in range(STREAMS * PRIORITIES)]
        self.streams_made = Counter()
        self.live = self.peak = self.cached = 0
        self.pools = {}
        self.begin()

    def begin(self):
        """Count anew, with everything that a program may have left undone done."""
        self.host_syncs, self.cold, self.captured, self.plans = [], [], [], set()
        self.pinned_blocks = self.replays = 0
        self.refused_like = "2.11"
        self.total_bytes = _H200_BYTES
        self.underway, self.generator_captures = [], False
        self.forbids_waiting = False

    # What runs.

    def capturing(self):
        """The graph that this thread records; None if it does not."""
        return current_queue(self).capture

    def synchronised(self, why, *, whole=False):
        """The host waits: for the current stream, or for the whole device."""
        with self.lock:
            own = current_queue(self)
            queues = [self.default, *self.queues] if whole else [own]
            for queue in queues:
                if queue.capture is not None:
                    queue.capture.invalid = True
                    raise cuda_error(_CAPTURING)
            if self.forbids_waiting and not whole:
                raise RuntimeError("called a synchronizing CUDA operation")
            self.host_syncs.append(why)
            for queue in queues:
                queue.run_until()

    def kernel(self, run):
        """Run it behind everything on its stream; within a capture it is recorded too."""
        with self.lock:
            queue = current_queue(self)
            if not queue.draining and queue.capture is None:
                queue.run_until()
            if queue.capture is not None and queue.capture.invalid:
                raise cuda_error(_INVALID)
            self.clock_s += KERNEL_S
            return run()

    def convolution(self, name, shape):
        """cuDNN keeps its plans by thread."""
        plan = (threading.get_ident(), name, shape)
        if plan not in self.plans:
            self.plans.add(plan)
            self.cold.append(plan)

    def random(self):
        """Random numbers follow the generator, which a capture sets to a mode of its own."""
        if self.generator_captures != (self.capturing() is not None):
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")

    # Memory.

    @property
    def reserved(self):
        return self.live_outside + self.cached + sum(p.reserved for p in self.pools.values())

    @property
    def live_outside(self):
        return self.live - sum(pool.live for pool in self.pools.values())

    def free_bytes(self):
        return self.total_bytes - _CONTEXT_BYTES - self.reserved

    def memory(self):
        return self.free_bytes(), self.total_bytes

    def take(self, size):
        with self.lock:
            graph = self.capturing()
            pool = None if graph is None else self.pools[graph.pool_id]
            held = self.cached if pool is None else pool.reserved - pool.live
            if size - held > self.free_bytes() and pool is None and not self.underway:
                self.cached = held = 0
            if size - held > self.free_bytes():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more.\nAdvice.")
            if pool is None:
                self.cached = max(0, self.cached - size)
            else:
                pool.live += size
                pool.reserved = max(pool.reserved, pool.live)
            self.live += size
            self.peak = max(self.peak, self.live)
            return pool

    def free(self, block):
        with self.lock:
            self.live -= block.size
            if block.pool is None:
                self.cached += block.size
            else:
                block.pool.live -= block.size

    def forget_peak(self):
        self.peak = self.live

    def empty_cache(self):
        with self.lock:
            if self.underway:
                for queue in self.queues:
                    if queue.capture is not None:
                        queue.capture.invalid = True
                raise RuntimeError(_UNDERWAY)
            self.cached = 0
            for key, pool in list(self.pools.items()):
                if not pool.graphs:
                    pool.reserved = pool.live
                    if not pool.live:
                        del self.pools[key]

    def snapshot(self):
        outside = (self.live_outside + self.cached, self.live_outside, (0, 0))
        return [
            {"device": self.index, "total_size": total, "allocated_size": live, "active_size": live,
             "segment_pool_id": key}
            for total, live, key in [
                outside, *((p.reserved, p.live, key) for key, p in self.pools.items())
            ]
        ]  # fmt: skip

    def end_allocate(self, pool_id):
        if pool_id not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool_id)

    def release(self, pool_id):
        pool = self.pools[pool_id]
        pool.graphs -= 1
        if pool.graphs < 0:
            raise RuntimeError("uc >= 0 INTERNAL ASSERT FAILED")


_here = threading.local()
devices = []


def current_device():
    return devices[getattr(_here, "index", 0)]


def exchange_device(index):
    before = current_device().index
    if index >= 0:
        _here.index = index
    return before


def current_queue(device):
    """Where this thread's work for the device goes."""
    return getattr(_here, "queues", {}).get(device.index, device.default)


@contextmanager
def no_queue_but(queue):
    """For what happens on a stream by itself."""
    before = dict(getattr(_here, "queues", {}))
    _here.queues = before | {queue.device.index: queue}
    try:
        yield
    finally:
        _here.queues = before


class Stream:
    """torch.cuda.Stream: one of 32 of its device and priority, handed out in turn."""

    def __init__(self, device=None, priority=0, *, queue=None):
        with torch.cuda.device(device):
            on = current_device() if queue is None else queue.device
        if queue is None:
            first = STREAMS * min(max(-priority, 0), PRIORITIES - 1)
            queue = on.queues[first + on.streams_made[first] % STREAMS]
            on.streams_made[first] += 1
        self.queue, self.device = queue, torch.device("cuda", on.index)
        self.device_index, self.device_type = on.index, 1
        self.stream_id = self.cuda_stream = id(queue)

    def __eq__(self, other):
        return isinstance(other, Stream) and other.queue is self.queue

    def __hash__(self):
        return hash(self.stream_id)

    def wait_event(self, event):
        event.wait(self)

    def wait_stream(self, other):
        self.wait_event(other.record_event())

    def record_event(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def query(self):
        return not self.queue.waiting

    def synchronize(self):
        with no_queue_but(self.queue):
            self.queue.device.synchronised("Stream.synchronize")


class Event:
    """torch.cuda.Event."""

    def __init__(self, enable_timing=False, blocking=False, interprocess=False, external=False):
        self.timed, self.blocking, self.mark = enable_timing, blocking, None

    def record(self, stream=None):
        self.mark = Mark((stream or torch.cuda.current_stream()).queue)

    def wait(self, stream=None):
        if self.mark is not None:
            (stream or torch.cuda.current_stream()).queue.put(self.mark.reach)

    def query(self):
        return self.mark is None or self.mark.is_done()

    def synchronize(self):
        if self.mark is None:
            return
        if current_queue(self.mark.queue.device).capture is not None:
            self.mark.queue.device.synchronised("Event.synchronize")
        self.mark.reach()

    def elapsed_time(self, end):
        if not (self.timed and end.timed and self.query() and end.query()):
            raise ValueError("both events must record times and be done")
        return (end.mark.at_s - self.mark.at_s) * 1e3


class CUDAGraph:
    """torch.cuda.CUDAGraph; torch's own `torch.cuda.graph` drives it."""

    def __init__(self, keep_graph=False):
        self.operations, self.invalid, self.pool_id, self.queue = [], False, None, None
        self.outputs, self.complete = [], False

    def capture_begin(self, pool=None, capture_error_mode="global", check_input_liveness=False):
        device = current_device()
        queue = current_queue(device)
        if queue is device.default:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        self.pool_id = pool or graph_pool_handle()
        if self.pool_id in device.underway:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        device.pools.setdefault(self.pool_id, Pool()).graphs += 1
        device.underway.append(self.pool_id)
        self.queue, queue.capture = queue, self
        device.generator_captures = True

    def capture_end(self):
        queue, device = self.queue, self.queue.device
        if current_queue(device) is not queue:
            raise RuntimeError("Capture must end on the same stream it began on.")
        queue.capture = None
        if self.invalid:
            # Before 2.13 it raised here, with all that follows left undone.
            if device.refused_like >= "2.13":
                device.end_allocate(self.pool_id)
            if device.refused_like >= "2.14":
                device.release(self.pool_id)
            raise cuda_error(_INVALID)
        device.end_allocate(self.pool_id)
        device.generator_captures = False
        device.captured.append(self.pool_id)
        self.complete = True
        with torch.inference_mode():
            for output in self.outputs:  # nothing has run: what is there is anything
                output.fill_(99)

    def replay(self):
        if not self.complete:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self.queue.device.replays += 1
        current_queue(self.queue.device).put(self._happen)

    def _happen(self):
        self.queue.device.clock_s += KERNEL_S * len(self.operations)
        with torch.inference_mode():
            for operation in self.operations:
                operation()

    def pool(self):
        return self.pool_id

    def reset(self):
        if self.complete:
            self.complete = False
            self.operations.clear()
            self.outputs.clear()
            self.queue.device.release(self.pool_id)

    def __del__(self):
        try:  # noqa: SIM105 - at the interpreter's exit this module's names are gone
            self.reset()
        except KeyError:  # of a stand-in that was put away meanwhile
            pass


_handles = iter(range(1, 1 << 62))


def graph_pool_handle():
    return (0, next(_handles))


def sleep(cycles):
    """torch.cuda._sleep: the device is busy, the host is not."""

    def happen():
        current.clock_s += cycles * SLEEP_S_PER_CYCLE
        time.sleep(cycles * SLEEP_S_PER_CYCLE)

    current = current_device()
    current_queue(current).put(happen)
