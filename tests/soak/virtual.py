"""A batcher in virtual time whose model misbehaves when told to, and all that can go wrong."""

import asyncio
from collections import Counter

import numpy as np

from batching import DynamicBatcher, FaultTolerance, QueueFullError, VirtualClock
from batching.models import AffineModel
from batching.policies import PolicyOptions
from tests.soak.trouble import Trouble, TroubledModel, TroubledPolicy


class Model(AffineModel):
    """Takes 5 ms a batch; `misbehave(payloads)` may raise or take longer. Doubles its payloads."""

    def __init__(self, clock, misbehave=lambda payloads: None):
        super().__init__(0.005, 0.0, clock)
        self.misbehave = misbehave
        self.batches = []

    def run(self, inputs):
        self.batches.append(list(inputs))
        super().run(inputs)
        self.misbehave(inputs)
        return [2 * x for x in inputs]


class Virtual:
    """A batcher in virtual time, with its batches."""

    def __init__(
        self, misbehave=lambda payloads: None, *, clock=None, model=None, start=True, **options
    ):
        self.clock = clock or VirtualClock()
        self.model = model or Model(self.clock, misbehave)
        self.records = []
        options = {"batch_timeout_ms": 1.0, "warm_up_budget_s": 0} | options
        self.batcher = DynamicBatcher(
            self.model,
            clock=self.clock,
            observer=lambda record, _: self.records.append(record),
            **options,
        )
        if start:
            self.batcher.start()

    def submit(self, *payloads, **options):
        return [self.batcher.submit(payload, **options) for payload in payloads]

    def sleep(self, seconds):
        self.clock.sleep_until(self.clock.now() + seconds)

    def stop(self, **options):
        self.batcher.stop(**options)
        counts = self.batcher.statistics()
        assert counts.queue_depth == counts.in_flight == 0
        return counts


def policy_arguments(max_batch_size=32, batch_timeout_s=0.001):
    return [PolicyOptions(max_batch_size=max_batch_size, batch_timeout_s=batch_timeout_s)]


def mixture_in_virtual_time(seed, count):  # noqa: C901 - everything that can go wrong, at once
    """Submit `count` requests amid failures, hangs, deaths, cancellations, deadlines and a stop.

    Every request must end exactly once, with its own result, and whoever awaits it must be told.
    Returns the batcher's counts.
    """
    rng = np.random.default_rng(seed)
    trouble = Trouble(seed)
    loop = asyncio.new_event_loop()

    def hang(payloads):
        if rng.random() < 0.01:
            virtual.sleep(0.5)  # longer than allowed

    clock = VirtualClock()
    virtual = Virtual(
        clock=clock,
        model=TroubledModel(0.005, clock, trouble, hang),
        policy=TroubledPolicy(trouble, 16, 0.002),
        max_batch_size=16,
        replicas=int(rng.integers(1, 4)),
        in_flight=int(rng.integers(1, 3)),
        max_queue_size=200,
        deadline_ms=float(rng.choice([20, 100])),
        recorder=trouble,
        faults=FaultTolerance(
            max_retries=2,
            retry_on=trouble.is_transient,
            execute_timeout_ms=50,
            retry_budget=0.5,
        ),
        start=False,
    )
    batcher = trouble.batcher = virtual.batcher
    batcher.add_observer(trouble.observe)
    trouble.check_closed()
    batcher.start()
    endings = Counter()
    requests = []
    submitted = rejected = 0
    for i in range(1, count + 1):
        if rng.random() < 0.7:
            virtual.sleep(float(rng.exponential(0.0006)))
        try:
            request = batcher.submit(i, loop if i % 3 == 0 else None, priority=int(rng.integers(3)))
        except QueueFullError:
            rejected += 1
        else:
            if rng.random() < 0.2:
                request.add_done_callback(trouble.call_back)
            request.add_done_callback(lambda r: endings.update([id(r)]))
            requests.append((i, request))
        submitted += 1
        if requests and rng.random() < 0.05:
            batcher.cancel(requests[rng.integers(max(0, len(requests) - 50), len(requests))][1])
    counts = virtual.stop(drain=bool(seed % 2))
    trouble.check_closed()
    trouble.check_more()
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    assert counts.submitted == submitted + len(trouble.more) + trouble.refused == trouble.recorded
    assert counts.rejected == rejected + trouble.refused
    assert set(endings.values()) == {1}
    assert len(endings) == len(requests)
    for i, request in requests:
        assert request.done()
        if request.status == "ok":
            assert request.result() == 2 * i
        if request.future is not None:
            assert (request.future.exception() or request.future.result()) == request.value
    served = Counter(r.status for _, r in requests + trouble.more)
    assert all(served[ending] == getattr(counts, ending) for ending in ("ok", "failed", "expired"))
    assert counts.ok > 100
    return counts
