"""`make soak`: a million requests with everything going wrong, in virtual and in real time.

Then as many generated lives as are needed to find what happens once in thousands: see
`tests/batching/life`. A first argument says how many requests, a second how many lives.
"""

import logging
import sys
import time
from collections import Counter

from rich.console import Console

from tests.batching.life.many import OUTCOMES, live_many
from tests.batching.life.scenarios import TROUBLE
from tests.soak.live import mixture_in_real_time
from tests.soak.virtual import mixture_in_virtual_time

EACH = 25_000
# A life in real time takes as long as its scenario says.
LIVES_TO_ONE_LIVE = 10


def requests(mixture, total):
    sums = Counter()
    for seed in range(total // EACH):
        counts = mixture(seed, EACH)
        sums.update({outcome: getattr(counts, outcome) for outcome in OUTCOMES})
    return sums


def lives(total, *, live):
    sums = Counter()
    for trouble in TROUBLE:
        sums += live_many(-(-total // len(TROUBLE)), trouble, live=live)
    return sums


def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    lived = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    console = Console(highlight=False)
    logging.getLogger("batching").setLevel(logging.CRITICAL + 1)  # nearly all that is called raises
    for name, counted in (
        ("requests, virtual", lambda: requests(mixture_in_virtual_time, total)),
        ("requests, live", lambda: requests(mixture_in_real_time, total)),
        ("lives, virtual", lambda: lives(lived, live=False)),
        ("lives, live", lambda: lives(lived // LIVES_TO_ONE_LIVE, live=True)),
    ):
        began = time.perf_counter()
        parts = ", ".join(f"{key} {value:,}" for key, value in counted().items())
        took_s = time.perf_counter() - began
        console.print(f"{name}: {parts} in {took_s:.0f} s; every request ended exactly once")


main()
