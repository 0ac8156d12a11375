"""The highest load that each way of batching sustains with p99 under one and the same limit.

mlp under bursty arrivals (100 ms bursts at 2.5 x the mean about once a second), the same draw for
all; each way's load is bisected on a geometric scale. A load is sustained if every request is
answered and p99, from the scheduled arrival, is within the limit.
"""

import numpy as np
from rich.table import Table

from batching import DynamicBatcher, RealClock, load_model
from bench.hardware.quiet import quiet_gc
from bench.live.replay import Sent, replay
from workloads import Mmpp

LIMIT_S, DURATION_S, STEPS = 0.25, 6.0, 6
WAYS = {
    "no batching": {"max_batch_size": 1, "batch_timeout_ms": 0},
    "window 32 / 10 ms": {"policy": "window", "max_batch_size": 32, "batch_timeout_ms": 10},
    "timeout 32 / 10 ms": {"policy": "timeout", "max_batch_size": 32, "batch_timeout_ms": 10},
    "timeout 64 / 0 ms": {"policy": "timeout", "max_batch_size": 64, "batch_timeout_ms": 0},
}


def p99_s(model, payloads, rate_rps, knobs):
    """p99 latency at that load; infinite if the queue is beyond hope."""
    clock = RealClock()
    process = Mmpp(burst_factor=2.5, burst_s=0.1, calm_s=0.9)
    arrival_s = process.arrivals(rate_rps, DURATION_S, np.random.default_rng(7))
    batcher = DynamicBatcher(model, device="cpu", **knobs)
    batcher.start()
    sent = Sent(start_s=clock.now() + 0.05)
    with quiet_gc():
        replay(batcher, arrival_s, payloads, clock, sent)
        batcher.stop()
    ended_s = np.array([request.batch.delivered_s for request in sent.requests])
    return float(np.quantile(ended_s - sent.start_s - arrival_s, 0.99, method="inverted_cdf"))


def sustained_rps(model, payloads, knobs):
    low, high = 100.0, 12_800.0
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        if p99_s(model, payloads, middle, knobs) <= LIMIT_S:
            low = middle
        else:
            high = middle
    return low, high


def main(console):
    model = load_model("mlp", clock=RealClock())
    rng = np.random.default_rng(0)
    payloads = [model.make_input(rng) for _ in range(64)]
    found = {name: sustained_rps(model, payloads, knobs) for name, knobs in WAYS.items()}
    table = Table(
        "",
        "sustained, req/s",
        "not sustained, req/s",
        "against window",
        title=f"Load with p99 <= {LIMIT_S * 1e3:.0f} ms, mlp, bursty",
    )
    base = found["window 32 / 10 ms"][0]
    for name, (low, high) in found.items():
        table.add_row(name, f"{low:,.0f}", f"{high:,.0f}", f"{low / base:.2f}")
    console.print(table)
