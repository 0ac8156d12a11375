"""What the live batcher adds to the latency that its policy gives in exact arithmetic.

affine:5,0.1 under Poisson arrivals at 70 % of its batch-32 capacity, `timeout` 2 ms. The exact
value is that of the same code on the same arrivals on the virtual clock, where nothing costs
anything.
"""

from statistics import median

import numpy as np
from rich.table import Table

from batching import DynamicBatcher, RealClock, VirtualClock, load_model
from bench.hardware.quiet import quiet_gc
from bench.live.replay import Sent, replay
from bench.live.stalls import StallWatch
from workloads import Poisson

RATE_RPS, DURATION_S, REPEATS = 0.7 * 32 / 0.0082, 10.0, 5


def run(clock, arrival_s):
    model = load_model("affine:5,0.1", clock=clock)
    batcher = DynamicBatcher(model, max_batch_size=32, batch_timeout_ms=2, clock=clock)
    batcher.start()
    sent = Sent(start_s=clock.now() + 0.05)
    with quiet_gc():
        replay(batcher, arrival_s, [0.0], clock, sent)
        batcher.stop()
    assert all(request.status == "ok" for request in sent.requests)
    ended_s = np.array([request.batch.delivered_s for request in sent.requests])
    sent_s = np.array([request.enqueued_s for request in sent.requests])
    due_s = sent.start_s + arrival_s
    return ended_s - due_s, sent_s - due_s


def main(console):
    rng = np.random.default_rng(7)
    arrival_s = Poisson().arrivals(RATE_RPS, DURATION_S, rng)
    exact_s, _ = run(VirtualClock(), arrival_s)
    columns = ["run", "p50 ms", "p99 ms", "p99 / exact", "slip p99 ms"]
    table = Table(
        *columns,
        "stall p99 ms",
        "stall max ms",
        title=f"Live against exact arithmetic, {RATE_RPS:,.0f} req/s",
    )
    exact_p50, exact_p99 = np.quantile(exact_s, [0.5, 0.99])
    table.add_row("exact", f"{exact_p50 * 1e3:.2f}", f"{exact_p99 * 1e3:.2f}", "1.000")
    ratios = []
    for number in range(REPEATS):
        with StallWatch() as watch:
            latency_s, slip_s = run(RealClock(), arrival_s)
            stalls = watch.stop(0.0)
        p50, p99 = np.quantile(latency_s, [0.5, 0.99])
        ratios.append(p99 / exact_p99)
        values = [p50, p99, None, np.quantile(slip_s, 0.99)]
        values += [stalls.late_s.quantile(0.99), stalls.late_s.max()]
        cells = [f"{v * 1e3:.2f}" if v is not None else f"{ratios[-1]:.3f}" for v in values]
        table.add_row(str(number + 1), *cells)
    table.add_row("median", "", "", f"{median(ratios):.3f}")
    console.print(table)
