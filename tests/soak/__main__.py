"""`make soak`: a million requests with everything going wrong, in virtual and in real time."""

import logging
import sys
import time

from rich.console import Console

from tests.soak.live import mixture_in_real_time
from tests.soak.virtual import mixture_in_virtual_time

EACH = 25_000


def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    console = Console(highlight=False)
    logging.getLogger("batching").setLevel(logging.ERROR)  # workers die by the hundred here
    for name, mixture in (("virtual", mixture_in_virtual_time), ("live", mixture_in_real_time)):
        began = time.perf_counter()
        sums = {}
        for seed in range(total // EACH):
            counts = mixture(seed, EACH)
            for outcome in ("submitted", "ok", "rejected", "expired", "failed", "cancelled"):
                sums[outcome] = sums.get(outcome, 0) + getattr(counts, outcome)
        took_s = time.perf_counter() - began
        parts = ", ".join(f"{key} {value:,}" for key, value in sums.items())
        console.print(f"{name}: {parts} in {took_s:.0f} s; every request ended exactly once")


main()
