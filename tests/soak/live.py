"""The same in real time: threads, event loops, failures, cancellations and replicas at once."""

import asyncio
import threading
from collections import Counter

from batching import DynamicBatcher, FaultTolerance, QueueFullError, RealClock, RequestError
from tests.soak.trouble import Trouble, TroubledModel, TroubledPolicy


def mixture_in_real_time(seed, count):  # noqa: C901 - everything that can go wrong, at once
    """Send `count` requests from two event loops and two threads; returns the batcher's counts."""
    trouble = Trouble(seed)
    clock = RealClock()
    batcher = trouble.batcher = DynamicBatcher(
        TroubledModel(0.0, clock, trouble) if seed % 2 else trouble.in_the_model,
        policy=TroubledPolicy(trouble, 32, 0.0005),
        max_batch_size=32,
        max_queue_size=150,
        deadline_ms=50,
        replicas=2,
        in_flight=2,
        faults=FaultTolerance(max_retries=1, retry_on=trouble.is_transient, retry_backoff_ms=1),
        warm_up_budget_s=0,
        observer=trouble.observe,
        recorder=trouble,
        clock=clock,
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
        trouble.own_threads.add(threading.get_ident())

        async def main():
            callers, each = 100, total // 100
            await asyncio.gather(*(caller(first + k * each, each) for k in range(callers)))

        asyncio.run(main())

    def on_thread(first, total):
        trouble.own_threads.add(threading.get_ident())
        for start in range(first, first + total, 50):
            requests = []
            for i in range(start, start + 50):
                try:
                    requests.append((i, batcher.submit(i, priority=i % 2)))
                except QueueFullError:
                    note("rejected")
            for _, request in requests[::5]:
                request.add_done_callback(trouble.call_back)
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
    trouble.check_closed()
    with batcher:
        threads = [
            threading.Thread(target=target, args=(1 + k * share, share))
            for k, target in enumerate([on_loop, on_loop, on_thread, on_thread])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trouble.check_closed()
    trouble.check_more()
    counts = batcher.statistics()
    more = len(trouble.more) + trouble.refused
    assert not failures, failures[:5]
    assert sum(seen.values()) == 4 * share, seen
    assert counts.submitted == trouble.recorded == 4 * share + more, (seen, counts)
    assert counts.queue_depth == counts.in_flight == 0, counts
    assert seen["rejected"] + trouble.refused == counts.rejected
    # A caller that timed out may have been answered in the same instant.
    answered = seen["ok"] + sum(request.status == "ok" for _, request in trouble.more)
    assert 0 <= counts.ok - answered <= seen["timed out"]
    return counts
