"""Requests per second through the batcher with a null model, beside bare asyncio futures.

A thousand callers send a hundred requests each, the next when the last is answered.
"""

import asyncio
import time
from statistics import median

from rich.table import Table

from batching import DynamicBatcher

CALLERS, EACH, REPEATS = 1000, 100, 5


async def closed_loop(add_request, callers=CALLERS, each=EACH):
    """Requests per second and CPU seconds per request."""

    async def caller():
        for i in range(each):
            await add_request(i)

    began, began_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return callers * each / wall, cpu / (callers * each)


async def floor():
    """Futures, each resolved by one callback that runs for all of them: no batching at all."""
    loop = asyncio.get_running_loop()
    waiting = []

    def resolve():
        due, waiting[:] = waiting[:], []
        for future, value in due:
            future.set_result(value)

    async def add_request(value):
        future = loop.create_future()
        if not waiting:
            loop.call_soon(resolve)
        waiting.append((future, value))
        return await future

    return await closed_loop(add_request)


async def batcher():
    async with DynamicBatcher(lambda xs: xs, max_batch_size=32, batch_timeout_ms=2) as dynamic:
        return await closed_loop(dynamic.add_request)


def main(console):
    rates = {"bare asyncio futures": [], "DynamicBatcher, batch 32": []}
    for _ in range(REPEATS):  # in turn, so that both meet the same machine
        rates["bare asyncio futures"].append(asyncio.run(floor()))
        rates["DynamicBatcher, batch 32"].append(asyncio.run(batcher()))
    table = Table("", "req/s", "CPU us/req", "share of bare", title="Closed loop, null model")
    bare = median(rps for rps, _ in rates["bare asyncio futures"])
    for name, runs in rates.items():
        rps, cpu_s = median(r for r, _ in runs), median(c for _, c in runs)
        table.add_row(name, f"{rps:,.0f}", f"{cpu_s * 1e6:.2f}", f"{rps / bare:.2f}")
    console.print(table)
