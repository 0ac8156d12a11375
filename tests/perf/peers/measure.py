"""One contestant under one load in a process of its own: `CONTESTANT LOAD`, JSON to stdout."""

import asyncio
import contextlib
import json
import selectors
import sys
import threading
import time
from math import inf

import numpy as np

from batching import RealClock, load_model
from batching.clock import sharpen_timers
from bench.hardware.quiet import quiet_gc
from bench.live.stalls import StallWatch
from tests.perf.closed_loop import closed_loop, floor
from tests.perf.peers.contestants import load
from workloads import Poisson

FLOOR = "floor"
MAX_BATCH_SIZE, TIMEOUT_MS = 32, 2.0
MODEL = "affine:5,0.1"
RATE_RPS, DURATION_S, SEED = 2732.0, 8.0, 7  # 70 % of the model's capacity in batches of 32
WARM_UP_CALLERS, WARM_UP_EACH = 64, 50
# Requests unanswered this long after the last arrival count as infinitely late.
PATIENCE_S = 20.0


def arrivals():
    return Poisson().arrivals(RATE_RPS, DURATION_S, np.random.default_rng(SEED))


async def closed(name):
    """A null model; the next request of each caller goes when its last is answered."""
    if name == FLOOR:
        rps, cpu_s = await floor()
        print_result(rps=rps, cpu_s=cpu_s)
        return
    async with contestant(name, null_model) as batcher:
        rps, cpu_s = await closed_loop(batcher.add_request)
        print_result(rps=rps, cpu_s=cpu_s)


async def opened(name):
    """Poisson arrivals at a model that takes its time; latency counts from the schedule."""
    sizes = []
    run_model = slow_model()

    def run(payloads):
        sizes.append(len(payloads))
        return run_model(payloads)

    async with contestant(name, run) as batcher:
        sizes.clear()
        with StallWatch() as watch, quiet_gc():
            latency_s = await open_loop(batcher.add_request, arrivals())
            stalls = watch.stop(0.0)
        p50_s, p99_s = p50_p99(latency_s)
        print_result(
            p50_s=p50_s,
            p99_s=p99_s,
            unanswered=int(np.isinf(latency_s).sum()),
            mean_batch=float(np.mean(sizes)),
            stall_p99_s=stalls.late_s.quantile(0.99),
        )


@contextlib.asynccontextmanager
async def contestant(name, run):
    """Make a contestant and warm it up; BentoML's, for one, learns from its first batches."""
    make, reason = load(name)
    if make is None:
        sys.exit(reason)
    async with make(run, max_batch_size=MAX_BATCH_SIZE, batch_timeout_ms=TIMEOUT_MS) as batcher:
        await closed_loop(batcher.add_request, WARM_UP_CALLERS, WARM_UP_EACH)
        yield batcher


def null_model(payloads):
    return list(payloads)


def slow_model():
    """The model, equally punctual in whosever thread it is called."""
    model = load_model(MODEL, clock=RealClock())
    seen = threading.local()

    def run(payloads):
        if not hasattr(seen, "sharp"):
            sharpen_timers()
            seen.sharp = True
        return model.run(list(payloads))

    return run


async def open_loop(add_request, arrival_s):
    """A task for each request, as a service's handlers do; seconds from schedule to answer."""
    now = time.perf_counter
    latency_s = np.full(len(arrival_s), inf)
    start_s = now() + 0.1

    async def call(i, due_s):
        if await add_request(i) == i:
            latency_s[i] = now() - due_s

    tasks = set()
    for i, offset_s in enumerate(arrival_s):
        due_s = start_s + offset_s
        while (now_s := now()) < due_s:  # noqa: ASYNC110 - paces the sending
            await asyncio.sleep(due_s - now_s)
        task = asyncio.create_task(call(i, due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE_S)
    return latency_s


def p50_p99(latency_s):
    # Nearest rank: an interpolation between a number and an infinity is neither.
    return np.quantile(latency_s, [0.5, 0.99], method="inverted_cdf")


def print_result(**result):
    # Before the contestant is stopped: a stop that hangs costs no result.
    print(json.dumps(result), flush=True)


def select_loop():
    """select() takes microseconds where epoll rounds a time-out up to whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


LOADS = {"closed": (closed, asyncio.new_event_loop), "open": (opened, select_loop)}


def main():
    name, load_name = sys.argv[1:]
    measure, loop_factory = LOADS[load_name]
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(measure(name))


if __name__ == "__main__":
    main()
