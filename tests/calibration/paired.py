"""What the promises of paired comparisons come to on simulated queues; prints a table.

Each draw is one of `bursty.json`, served by two simulated arms whose batch times have noise, drift
and slow phases of their own. Run it as `python -m tests.calibration.paired [COMPARISONS]`.
"""

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.simulation.outcome import outcome
from results.comparison.block_bootstrap import compare_runs
from results.comparison.observation import METRICS
from results.statistics.paired import Plan, Verdict
from tests.bench.comparison.arms import (
    Rough,
    SimulatedArm,
    run_simulated,
    simulated_draws,
    slower,
)

DRAWS = 10
RATE_RPS = 700.0
SECONDS = 10.0
CONTROL = SimulatedArm(Rough())
ARMS = {"A/A": CONTROL, "A/B": slower(CONTROL, 1.05)}
JUDGED = ("p50", "p99", "mean", "device_time")
Values = Any


def values(arm: SimulatedArm, arrivals: Any, seed: Any) -> list[float]:
    """The judged metrics of one run."""
    arrival_s = arrivals.trace.arrival_s
    found = outcome(arm.simulation(arrival_s, seed), arrival_s, arrivals.window_s)
    return [
        found.percentile_s(0.5),
        found.percentile_s(0.99),
        found.mean_s,
        found.device_s_per_request,
    ]


def comparison(seed: int) -> Values:
    """Log ratios of one comparison, for each kind of B: `[kinds, draws, metrics]`."""
    draws = simulated_draws(DRAWS, rate_rps=RATE_RPS, seconds=SECONDS, seed=seed)
    streams = iter(np.random.SeedSequence(seed).spawn(DRAWS * 3))
    rows = []
    for arrivals in draws:
        control = np.array(values(CONTROL, arrivals, next(streams)))
        rows.append(
            [
                np.log(np.array(values(arm, arrivals, next(streams))) / control)
                for arm in ARMS.values()
            ]
        )
    return np.array(rows).transpose(1, 0, 2)


def looked_at(x: Values, plan: Plan) -> tuple[Values, Values]:
    """Mean and half width of every look, `[comparisons, looks]`."""
    means, halves = [], []
    for draws in plan.looks:
        some = x[:, :draws]
        means.append(some.mean(1))
        error = some.std(1, ddof=1) / math.sqrt(draws)
        halves.append(error * stats.t.ppf(1 - plan.level / 2, draws - 1))
    return np.stack(means, 1), np.stack(halves, 1)


def row(name: str, x: Values) -> str:
    """What the promises come to for one metric of one kind of B."""
    truth = x.mean()
    plan, fixed = Plan(draws=DRAWS), Plan(draws=DRAWS, exact=True)
    mean, half = looked_at(x, fixed)
    coverage = (np.abs(mean - truth) <= half).mean()
    mean, half = looked_at(x, plan)
    different = (np.abs(mean) > half) & ~(np.abs(mean) + half < plan.log_margin)
    decided = different | (np.abs(mean) + half < plan.log_margin)
    stop = np.argmax(np.column_stack((decided, np.ones(len(x)))), axis=1)
    last = np.minimum(stop, len(plan.looks) - 1)
    rows = np.arange(len(x))
    at_stop = (np.abs(mean - truth)[rows, last] <= half[rows, last]).mean()
    draws = np.array(plan.looks)[last].mean()
    cells = (
        f"{100 * math.expm1(truth):+.1f} %",
        f"{x.std():.3f}",
        f"{100 * different[rows, last].mean():.1f} %",
        f"{100 * (decided & ~different)[rows, last].mean():.1f} %",
        f"{100 * coverage:.1f} %",
        f"{100 * at_stop:.1f} %",
        f"{draws:.1f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def recorded(seed: int) -> list[bool]:
    """Whether one A/A of two recorded runs is called different, by metric."""
    [arrivals] = simulated_draws(1, rate_rps=RATE_RPS, seconds=30.0, seed=seed)
    run = run_simulated(seed)
    pair = [run(CONTROL, arrivals, Path(name)) for name in ("a", "b")]
    called = []
    for name in JUDGED:
        judged = compare_runs(pair, metric=name).outcome.challengers[0].judged
        called.append(judged.verdict in (Verdict.BETTER, Verdict.WORSE))
    return called


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    comparisons = int(arguments[0]) if arguments else 2000
    with ProcessPoolExecutor() as pool:
        x = np.array(list(pool.map(comparison, range(comparisons), chunksize=8)))
        single = np.array(list(pool.map(recorded, range(comparisons // 4), chunksize=8)))
    print(f"{comparisons} comparisons, {SECONDS:g} s draws of bursty.json at {RATE_RPS:g} req/s")
    print("| | true difference | noise of a pair | called different | called equivalent "
          "| coverage, K = 10 | coverage at a stop | draws made |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for kind, name in enumerate(ARMS):
        for m, metric in enumerate(JUDGED):
            print(row(f"{name}, {METRICS[metric].label}", x[:, kind, :, m]))
    print(f"\n{len(single)} A/A of two recorded runs of 30 s, by blocks of time")
    for m, metric in enumerate(JUDGED):
        print(f"| {METRICS[metric].label} | called different {100 * single[:, m].mean():.1f} % |")


if __name__ == "__main__":
    main(sys.argv[1:])
