"""Drawing a million arrivals from each process."""

import time
from statistics import median

import numpy as np
from rich.table import Table

from workloads import Constant, Gamma, Mmpp, OnOff, Poisson

COUNT = 1_000_000


def main(console):
    table = Table("process", "1e6 arrivals, s", "against bare numpy", title="Drawing arrivals")
    bare_s = median(timed(lambda rng: np.cumsum(rng.exponential(1.0, COUNT))) for _ in range(5))
    table.add_row("numpy: exponential gaps, summed", f"{bare_s:.3f}", "1.0")
    for process in (Poisson(), Gamma(2.0), Constant(), Mmpp(2.5, 0.1, 0.3), OnOff(0.1, 0.3)):
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
