"""Three times the load that can be served: memory, rejections and the latency of what is let in."""

import time
from array import array

import numpy as np
import psutil
from rich.table import Table

from batching import DynamicBatcher, QueueFullError, RealClock
from batching.models import AffineModel

SECONDS, QUEUE, LIMIT = 60.0, 128, 32
A_S, B_S = 0.005, 0.0001


def main(console):
    clock = RealClock()
    model = AffineModel(A_S, B_S, clock)
    peak_rps = LIMIT / model.batch_s(LIMIT)
    gap_s = 1.0 / (3.0 * peak_rps)
    latency_s, refusal_s, memory = array("d"), array("d"), []
    process = psutil.Process()

    def observe(record, requests):
        latency_s.extend(record.delivered_s - r.enqueued_s for r in requests)

    with DynamicBatcher(
        model, max_batch_size=LIMIT, batch_timeout_ms=2, max_queue_size=QUEUE, observer=observe
    ) as batcher:
        began_s = clock.now()
        due_s, sampled_s = began_s, began_s
        while due_s < began_s + SECONDS:
            time.sleep(max(0.0, due_s - clock.now()))
            while due_s <= clock.now():  # what came due while it slept
                before_s = clock.now()
                try:
                    batcher.submit(0)
                except QueueFullError:
                    refusal_s.append(clock.now() - before_s)
                due_s += gap_s
            if clock.now() - sampled_s >= 1.0:
                # What is measured is kept too, 8 bytes each.
                kept = 8 * (len(latency_s) + len(refusal_s))
                memory.append(process.memory_info().rss - kept)
                sampled_s = clock.now()

    first, last = (np.mean(part) / 2**20 for part in (memory[2:7], memory[-5:]))
    bound_s = (QUEUE / LIMIT + 2) * model.batch_s(LIMIT)
    table = Table("", "", title=f"Offered {3 * peak_rps:,.0f} req/s for {SECONDS:.0f} s, 3 x peak")
    table.add_row("accepted, refused", f"{len(latency_s):,}, {len(refusal_s):,}")
    table.add_row("memory, s 3-7 -> last 5 s", f"{first:.1f} -> {last:.1f} MiB")
    for name, values, unit in (
        ("latency of the accepted", latency_s, 1e3),
        ("time to be refused", refusal_s, 1e6),
    ):
        p50, p99 = np.quantile(values, (0.5, 0.99)) * unit
        table.add_row(
            f"{name}, p50 and p99", f"{p50:.1f}, {p99:.1f} {'ms' if unit == 1e3 else 'us'}"
        )
    table.add_row("bound: queue ahead, the batch running, its own", f"{bound_s * 1e3:.1f} ms")
    console.print(table)
