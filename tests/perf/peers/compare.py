"""DynamicBatcher beside the batchers that one can install: same model, arrivals, interpreter.

Every measurement is a fresh process; the contestants take turns, in reversed order every other
round, so that all meet the same machine. Runs in the peers' own environment (see the Makefile).
"""

import json
import subprocess
import sys
from statistics import median

from rich.table import Table

from batching import VirtualClock
from tests.perf.overhead import run
from tests.perf.peers import measure
from tests.perf.peers.contestants import CONTESTANTS, OURS, load

REPEATS = 3
LIMIT_S = 90.0


def main(console, repeats=REPEATS):
    present, absent = roll_call()
    print_contestants(console, present, absent)
    closed = take_turns([measure.FLOOR, *present], "closed", repeats)
    print_closed(console, closed)
    print_open(console, take_turns(present, "open", repeats))


def roll_call():
    """Who can be imported, and for the others why not."""
    reasons = {name: load(name)[1] for name in CONTESTANTS}
    return [n for n in reasons if not reasons[n]], {n: r for n, r in reasons.items() if r}


def print_contestants(console, present, absent):
    table = Table("", "version", "how it is used", title="Contestants")
    for name in present:
        it = CONTESTANTS[name]
        table.add_row(it.label, it.version, it.how)
    for name, reason in absent.items():
        table.add_row(CONTESTANTS[name].label, CONTESTANTS[name].version, f"left out: {reason}")
    console.print(table)


def take_turns(names, load_name, repeats):
    """Results by contestant; what a process could not do is None."""
    results = {name: [] for name in names}
    for repeat in range(repeats):
        for name in reversed(names) if repeat % 2 else names:
            results[name].append(measured(name, load_name))
    return results


def measured(name, load_name):
    command = [sys.executable, "-m", measure.__name__, name, load_name]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    return json.loads(output) if output else None


def print_closed(console, results):
    title = "Closed loop: null model in a worker thread, 1,000 callers x 100"
    table = Table("", "req/s", "range", "CPU us/req", "dynbatch is", title=title)
    rates = {name: middle(runs, "rps") for name, runs in results.items()}
    for name, runs in results.items():
        if rates[name] is None:
            table.add_row(label(name), "failed")
            continue
        seen = [result["rps"] for result in runs if result]
        table.add_row(
            label(name),
            f"{rates[name]:,.0f}",
            f"{min(seen):,.0f}..{max(seen):,.0f}",
            f"{middle(runs, 'cpu_s') * 1e6:.1f}",
            f"{rates[OURS] / rates[name]:.2f} x" if rates[OURS] else "",
        )
    console.print(table)
    peers = [rate for name, rate in rates.items() if name not in (OURS, measure.FLOOR) and rate]
    if peers and rates[OURS] and rates[measure.FLOOR]:
        console.print(
            f"dynbatch: {rates[OURS] / max(peers):.2f} x the best peer, "
            f"{rates[OURS] / rates[measure.FLOOR]:.2f} x the floor"
        )


def print_open(console, results):
    exact_s, _ = run(VirtualClock(), measure.arrivals())
    exact_p50_s, exact_p99_s = measure.p50_p99(exact_s)
    title = (
        f"Open loop: {measure.MODEL} in a worker thread, "
        f"{measure.RATE_RPS:,.0f} req/s for {measure.DURATION_S:g} s"
    )
    columns = ["p50 ms", "p99 ms", "range", "p99 / exact", "mean batch", "lost"]
    table = Table("", *columns, "stalls p99 ms", title=title)
    table.add_row("exact", f"{exact_p50_s * 1e3:.1f}", f"{exact_p99_s * 1e3:.1f}", "", "1.00")
    p99s_s = {name: middle(runs, "p99_s") for name, runs in results.items()}
    for name, runs in results.items():
        p99_s = p99s_s[name]
        if p99_s is None:
            table.add_row(label(name), "failed")
            continue
        seen_ms = [result["p99_s"] * 1e3 for result in runs if result]
        table.add_row(
            label(name),
            f"{middle(runs, 'p50_s') * 1e3:,.1f}",
            f"{p99_s * 1e3:,.1f}",
            f"{min(seen_ms):,.1f}..{max(seen_ms):,.1f}",
            f"{p99_s / exact_p99_s:,.2f}",
            f"{middle(runs, 'mean_batch'):.1f}",
            f"{middle(runs, 'unanswered'):.0f}",
            f"{middle(runs, 'stall_p99_s') * 1e3:.2f}",
        )
    console.print(table)
    peers = [p99_s for name, p99_s in p99s_s.items() if name != OURS and p99_s]
    if peers and p99s_s[OURS]:
        console.print(f"dynbatch: p99 {p99s_s[OURS] / min(peers):.2f} x that of the best peer")


def label(name):
    if name == measure.FLOOR:
        return "floor: bare asyncio futures"
    return CONTESTANTS[name].label


def middle(runs, key):
    values = [result[key] for result in runs if result]
    return median(values) if values else None
