"""Drawing a million arrivals from each process."""

import time
from statistics import median

import numpy as np
from rich.table import Table

from workloads import (
    PROCESSES,
    Constant,
    Diurnal,
    Gamma,
    Hawkes,
    Mmpp,
    OnOff,
    Pareto,
    Part,
    Piecewise,
    Poisson,
    Ramp,
    Spike,
    Superposition,
    Weibull,
)

COUNT = 1_000_000
EXAMPLES = [
    Poisson(),
    Gamma(2.0),
    Weibull(0.5),
    Pareto(1.5),
    Constant(),
    Mmpp(2.5, 0.1, 0.3),
    OnOff(0.1, 0.3),
    Hawkes(0.9, 0.1),
    Diurnal(60.0, 0.8, 30.0),
    Ramp(0.0, 60.0),
    Spike(5.0, 10.0, 1.0, 3.0, 6.0, 30.0),
    Piecewise((1.0, 2.0), (3.0, 1.0)),
    Superposition((Part(Poisson(), 0.5), Part(Hawkes(0.9, 0.1), 0.5))),
]


def main(console):
    table = Table("process", "1e6 arrivals, s", "against bare numpy", title="Drawing arrivals")
    bare_s = median(timed(lambda rng: np.cumsum(rng.exponential(1.0, COUNT))) for _ in range(5))
    table.add_row("numpy: exponential gaps, summed", f"{bare_s:.3f}", "1.0")
    missing = PROCESSES.keys() - {process.kind for process in EXAMPLES}
    if missing:
        raise SystemExit(f"no example of {', '.join(sorted(missing))}")
    for process in EXAMPLES:
        took_s = median(
            timed(lambda rng, p=process: p.arrivals(1000.0, COUNT / 1000, rng)) for _ in range(5)
        )
        table.add_row(process.kind, f"{took_s:.3f}", f"{took_s / bare_s:.1f}")
    console.print(table)


def timed(draw):
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    draw(rng)
    return time.perf_counter() - began
