"""Requests simulated a second by both engines, metrics included, and the memory of the compiled.

Three settings of affine:5,0.1 under Poisson arrivals at half of its capacity, whose mean batches
are about 4, 16 and 30, and the same with batch times drawn from a profile.
"""

import os
import time
import tracemalloc
from statistics import median

import numpy as np
from rich.table import Table

from batching import VirtualClock, load_model
from batching.profiles import BatchSample, ServiceProfile, Subject
from bench.profiling.service_times import ExactSource, ProfileSource
from bench.settings import BatcherSettings
from bench.simulation.compiled import SWITCH
from bench.simulation.outcome import outcome
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
    columns = ("batch times", "mean batch", "requests/s", "compiled", "ratio", "bytes a request")
    table = Table(*columns, title=f"Simulating {COUNT:,} requests on one core")
    exact = ExactSource(load_model("affine:5,0.1", clock=VirtualClock()))
    for name, source in (("stated", exact), ("drawn", measured_source())):
        for rate_rps, size, timeout_ms in CASES:
            rng = np.random.default_rng(0)
            arrival_s = Poisson().arrivals(rate_rps, COUNT / rate_rps, rng)
            knobs = BatcherSettings(max_batch_size=size, batch_timeout_ms=timeout_ms)
            setup = Setup(knobs, source)
            window_s = float(arrival_s[-1])

            def simulate(setup=setup, arrival_s=arrival_s, window_s=window_s):
                run = setup.run(arrival_s)
                outcome(run, arrival_s, window_s).percentile_s(0.99)
                return run

            plain_s, compiled_s, run = both(simulate)
            tracemalloc.start()
            setup.run(arrival_s)
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            table.add_row(
                name,
                f"{len(arrival_s) / len(run.size):.1f}",
                f"{len(arrival_s) / plain_s:,.0f}",
                f"{len(arrival_s) / compiled_s:,.0f}",
                f"{plain_s / compiled_s:.0f}",
                f"{peak_bytes / len(arrival_s) + 8:.0f}",  # the arrivals are there before
            )
    console.print(table)


def both(simulate):
    """CPU seconds of the plain engine and of the compiled one, in turns, and what the last left.

    Of this thread: others on the machine are not the simulator's doing.
    """
    took_s = {"no": [], "always": []}
    os.environ[SWITCH] = "always"
    simulate()  # compiles
    for _ in range(TURNS):
        for switch, turns in took_s.items():
            os.environ[SWITCH] = switch
            began = time.thread_time()
            run = simulate()
            turns.append(time.thread_time() - began)
    return median(took_s["no"]), median(took_s["always"]), run
