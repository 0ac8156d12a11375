"""A batcher in virtual time whose model misbehaves when told to, and all that can go wrong."""

import numpy as np

from batching import DynamicBatcher, FaultTolerance, QueueFullError, VirtualClock
from batching.models import AffineModel
from batching.policies import PolicyOptions, TimeoutPolicy


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

    def __init__(self, misbehave=lambda payloads: None, **options):
        self.clock = VirtualClock()
        self.model = Model(self.clock, misbehave)
        self.records = []
        options = {"batch_timeout_ms": 1.0, "warm_up_budget_s": 0} | options
        self.batcher = DynamicBatcher(
            self.model,
            clock=self.clock,
            observer=lambda record, _: self.records.append(record),
            **options,
        )
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

    Every request must end exactly once, with its own result. Returns the batcher's counts.
    """
    rng = np.random.default_rng(seed)
    virtual = None

    def misbehave(payloads):
        dice = rng.random()
        if dice < 0.02:
            raise ConnectionError("transient")
        if dice < 0.03:
            virtual.sleep(0.5)  # longer than allowed
        if dice < 0.035:
            raise SystemExit(1)
        if dice < 0.04 and len(payloads) > 4:
            raise MemoryError("too large")
        if any(p % 997 == 0 for p in payloads):
            raise ValueError("poison")

    class Frail(TimeoutPolicy):
        def observe(self, batch):
            if rng.random() < 0.003:
                raise RuntimeError("dies now and then")

    virtual = Virtual(
        misbehave,
        policy=Frail(*policy_arguments(16, 0.002)),
        max_batch_size=16,
        replicas=int(rng.integers(1, 4)),
        in_flight=int(rng.integers(1, 3)),
        max_queue_size=200,
        deadline_ms=float(rng.choice([20, 100])),
        faults=FaultTolerance(
            max_retries=2, retry_on=(ConnectionError,), execute_timeout_ms=50, retry_budget=0.5
        ),
    )
    endings = {}
    submitted = rejected = 0
    requests = []
    for i in range(1, count + 1):
        if rng.random() < 0.7:
            virtual.sleep(float(rng.exponential(0.0006)))
        try:
            request = virtual.batcher.submit(i, priority=int(rng.integers(0, 3)))
        except QueueFullError:
            rejected += 1
        else:
            request.add_done_callback(lambda r: endings.update({id(r): endings.get(id(r), 0) + 1}))
            requests.append((i, request))
        submitted += 1
        if requests and rng.random() < 0.05:
            virtual.batcher.cancel(
                requests[rng.integers(max(0, len(requests) - 50), len(requests))][1]
            )
    counts = virtual.stop(drain=bool(seed % 2))
    assert counts.submitted == submitted
    assert counts.rejected == rejected
    assert set(endings.values()) == {1}
    assert len(endings) == len(requests)
    for i, request in requests:
        assert request.done()
        if request.status == "ok":
            assert request.result() == 2 * i
    assert sum(r.status == "ok" for _, r in requests) == counts.ok > 100
    assert counts.failed == sum(r.status == "failed" for _, r in requests)
    return counts
