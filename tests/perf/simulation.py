"""Requests simulated a second, and the memory that takes: one step a batch, whatever its size.

Three settings of affine:5,0.1 under Poisson arrivals at half of its capacity, whose mean batches
are about 4, 16 and 30, and the same with batch times drawn from a profile.
"""

import time
import tracemalloc
from statistics import median

import numpy as np
from rich.table import Table

from batching import VirtualClock, load_model
from batching.profiles import BatchSample, ServiceProfile, Subject
from bench.profiling.service_times import ExactSource, ProfileSource
from bench.settings import BatcherSettings
from bench.simulation.setup import Setup
from workloads import Poisson

COUNT = 500_000
# rate, max_batch_size, batch_timeout_ms
CASES = ((650.0, 32, 0.0), (2_000.0, 32, 2.0), (3_000.0, 32, 10.0))
TURNS = 3


def measured_source():
    """A profile with a spread, as a machine gives it."""
    rng = np.random.default_rng(0)
    samples = tuple(
        BatchSample(i * 0.01, n, None, 0.0, 5e-5, float((5e-3 + 1e-4 * n) * spread), 5e-5)
        for i, (n, spread) in enumerate(
            zip(list(range(1, 33)) * 60, rng.gamma(400.0, 1 / 400.0, 1920), strict=True)
        )
    )
    return ProfileSource(ServiceProfile(Subject("noisy", "cpu"), samples))


def main(console):
    columns = ("batch times", "mean batch", "requests/s", "batches/s", "bytes a request")
    table = Table(*columns, title=f"Simulating {COUNT:,} requests on one core")
    exact = ExactSource(load_model("affine:5,0.1", clock=VirtualClock()))
    for name, source in (("stated", exact), ("drawn", measured_source())):
        for rate_rps, size, timeout_ms in CASES:
            rng = np.random.default_rng(0)
            arrivals = Poisson().arrivals(rate_rps, COUNT / rate_rps, rng)
            arrival_s = arrivals.tolist()
            knobs = BatcherSettings(max_batch_size=size, batch_timeout_ms=timeout_ms)
            setup = Setup(knobs, source)
            took_s, run = median_of(lambda s=setup, a=arrival_s: s.run(a))
            tracemalloc.start()
            setup.run(arrival_s)
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            # The list of arrivals is there before: a float and a pointer to it.
            kept_bytes = peak_bytes / len(arrival_s) + 32
            table.add_row(
                name,
                f"{len(arrival_s) / len(run.size):.1f}",
                f"{len(arrival_s) / took_s:,.0f}",
                f"{len(run.size) / took_s:,.0f}",
                f"{kept_bytes:.0f}",
            )
    console.print(table)


def median_of(simulate):
    """CPU seconds of this thread: others on the machine are not the simulator's doing."""
    took_s = []
    for _ in range(TURNS):
        began = time.thread_time()
        run = simulate()
        took_s.append(time.thread_time() - began)
    return median(took_s), run
