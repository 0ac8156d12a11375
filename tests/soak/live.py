"""The same in real time: threads, event loops, failures, cancellations and replicas at once."""

import asyncio
import random
import threading
from collections import Counter

from batching import DynamicBatcher, FaultTolerance, QueueFullError, RequestError


def mixture_in_real_time(seed, count):  # noqa: C901 - everything that can go wrong, at once
    """Send `count` requests from two event loops and two threads; returns the batcher's counts."""
    dice = random.Random(seed)  # noqa: S311 - chance, not secrecy

    def model(payloads):
        chance = dice.random()
        if chance < 0.005:
            raise ConnectionError("transient")
        if chance < 0.007:
            raise SystemExit(1)
        if any(p % 997 == 0 for p in payloads):
            raise ValueError("poison")
        return [2 * p for p in payloads]

    batcher = DynamicBatcher(
        model,
        max_batch_size=32,
        batch_timeout_ms=0.5,
        max_queue_size=400,
        deadline_ms=50,
        replicas=2,
        in_flight=2,
        faults=FaultTolerance(max_retries=1, retry_on=(ConnectionError,), retry_backoff_ms=1),
    )
    seen = Counter()
    failures = []
    seen_guard = threading.Lock()

    def note(outcome):
        with seen_guard:
            seen[outcome] += 1

    async def caller(first, each):
        for i in range(first, first + each):
            try:
                request = batcher.add_request(i)
                answer = await (asyncio.wait_for(request, 0.001) if i % 50 == 0 else request)
            except TimeoutError:
                note("timed out")
            except QueueFullError:
                note("rejected")
                await asyncio.sleep(0.002)
            except RequestError as error:
                note(type(error).__name__)
            else:
                note("ok")
                if answer != 2 * i:
                    failures.append((i, answer))

    def on_loop(first, total):
        async def main():
            callers, each = 100, total // 100
            await asyncio.gather(*(caller(first + k * each, each) for k in range(callers)))

        asyncio.run(main())

    def on_thread(first, total):
        for start in range(first, first + total, 50):
            requests = []
            for i in range(start, start + 50):
                try:
                    requests.append((i, batcher.submit(i, priority=i % 2)))
                except QueueFullError:
                    note("rejected")
            if requests and start % 500 == 0:
                batcher.cancel(requests[-1][1])
            for i, request in requests:
                try:
                    answer = request.result(60)
                except RequestError as error:
                    note(type(error).__name__)
                else:
                    note("ok")
                    if answer != 2 * i:
                        failures.append((i, answer))

    share = count // 4 // 100 * 100
    with batcher:
        threads = [
            threading.Thread(target=target, args=(1 + k * share, share))
            for k, target in enumerate([on_loop, on_loop, on_thread, on_thread])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = batcher.statistics()
    assert not failures, failures[:5]
    assert sum(seen.values()) == counts.submitted == 4 * share, (seen, counts)
    assert counts.queue_depth == counts.in_flight == 0, counts
    assert seen["rejected"] == counts.rejected
    # A caller that timed out may have been answered in the same instant.
    assert 0 <= counts.ok - seen["ok"] <= seen["timed out"]
    return counts
