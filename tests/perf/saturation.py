"""Requests per second through the batcher with an always full queue, against a bare loop.

The bare loop runs the same batches of the same payloads through the same model in one thread, with
nothing around it. The two take turns, so that both meet the same machine.
"""

import time
from itertools import islice
from statistics import median

import numpy as np
from rich.table import Table

from batching import BatchRecord, DynamicBatcher, RealClock, load_model
from batching.execution.choose import make_executor
from batching.execution.devices import resolve_placement

# model, batch size, batches a turn
CASES = (("mlp", 32, 300), ("bert-base", 8, 4), ("resnet50", 4, 4))
TURNS = 3


def bare_rps(executor, payloads, batch_size):
    began = time.perf_counter()
    for start in range(0, len(payloads), batch_size):
        batch = payloads[start : start + batch_size]
        executor.execute(batch, BatchRecord(size=len(batch)))
    return len(payloads) / (time.perf_counter() - began)


def batcher_rps(model, placement, payloads, batch_size, in_flight):
    batcher = DynamicBatcher(
        model,
        max_batch_size=batch_size,
        in_flight=in_flight,
        device=placement.device,
    )
    batcher.start()
    began = time.perf_counter()
    for payload in payloads:
        batcher.submit(payload)
    batcher.stop()
    assert batcher.statistics().ok == len(payloads)
    return len(payloads) / (time.perf_counter() - began)


def main(console):
    columns = [
        "model",
        "batch",
        "bare loop req/s",
        "batcher req/s",
        "share",
        "in_flight 2",
        "share",
    ]
    table = Table(*columns, title="Saturation")
    placement = resolve_placement("auto")
    for name, batch_size, batches in CASES:
        model = load_model(name, clock=RealClock())
        executor = make_executor(model, placement, RealClock())
        executor.prepare()
        rng = np.random.default_rng(0)
        pool = [model.make_input(rng) for _ in range(64)]
        payloads = list(islice(pool * (batches * batch_size // 64 + 1), batches * batch_size))
        bare_rps(executor, payloads, batch_size)  # warm-up
        bare, one, two = [], [], []
        for _ in range(TURNS):
            bare.append(bare_rps(executor, payloads, batch_size))
            one.append(batcher_rps(model, placement, payloads, batch_size, 1))
            two.append(batcher_rps(model, placement, payloads, batch_size, 2))
        shares = [median(a / b for a, b in zip(x, bare, strict=True)) for x in (one, two)]
        table.add_row(
            name,
            str(batch_size),
            f"{median(bare):,.1f}",
            f"{median(one):,.1f}",
            f"{shares[0]:.3f}",
            f"{median(two):,.1f}",
            f"{shares[1]:.3f}",
        )
    console.print(table)
