"""Comparing runs that were recorded before, one of each arm, by blocks of time.

One run of each says nothing of other draws, so nothing is averaged over draws here. What can be
judged is how far the difference between these runs is due to a few moments of them: both windows
are cut into 5 blocks of time, blocks are drawn with replacement (a block bootstrap; Kuensch 1989),
and each metric is computed from the drawn blocks of each run together. With the same arrivals both
runs get the same blocks, which takes out what the bursts do to both; otherwise each gets its own,
and the interval is wider.

The interval is log ratio +- 1.5 t(1 - level / 2; 4) s, with s the standard deviation of the
bootstrapped log ratios times sqrt(5 / 4). Blocks must be much longer than the machine's slow phases
and the queue's memory, so there are few of them; and since noise slower than a block is not seen at
all, the interval is widened. In simulated A/A pairs (`tests.calibration.paired`; slow phases of
a second or two) 20 blocks without widening called the p99 different in 26 to 38 %; 5 blocks in 10 %
at 30 s, 16 % at 10 s; 95 % coverage would have taken a widening of 0.9 to 1.3 in runs of 30 and
60 s, of 1.4 to 2.1 in runs of 10 s. Runs of less than 30 s therefore get an interval, but no
verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from results.arrays import FloatArray
from results.comparison.observation import (
    METRICS,
    Observation,
    latency_column,
    metric_named,
    observe,
)
from results.comparison.outcome import (
    Challenger,
    Design,
    Draw,
    MetricEffect,
    Outcome,
    Strain,
    caveats,
    compared,
    corrected,
    from_effect,
)
from results.errors import InvalidInputError
from results.run.intervals import busy_between
from results.run.logs import floats, has_status, inside
from results.run.record import SIMULATION, Run
from results.statistics import paired
from results.statistics.paired import Effect, Plan, Verdict

BLOCKS = 5
WIDENED = 1.5
SHORTEST_S = 30.0
"""Runs shorter than this get no verdict."""

_RESAMPLES = 1000
_GRID = 3000


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison of recorded runs found; `draws` is one draw of one run an arm."""

    outcome: Outcome
    draws: Sequence[Draw]


def compare_runs(runs: Sequence[Run], *, metric: str = "p99", margin: float = 0.05) -> Found:
    """Compare recorded runs with the first of them, named a, b, c, ... in their order.

    Args:
        runs: Two or more, analysed.
        metric: The metric that decides.
        margin: Of equivalence, > 0.

    Raises:
        InvalidInputError: Fewer than two runs, an unknown metric or a margin out of range.
        NotAnalysedError: A run's metrics have not been computed.
    """
    if len(runs) < 2:
        raise InvalidInputError(f"runs must be at least two, but got {len(runs)}")
    judged = metric_named(metric)
    plan = Plan(draws=2, margin=margin, exact=True, challengers=len(runs) - 1)
    names = [chr(ord("a") + i) for i in range(len(runs))]
    draw = {name: observe(run) for name, run in zip(names, runs, strict=True)}
    design: Design = "blocks" if _same_arrivals(list(draw.values())) else "unpaired"
    blocks = [_Blocks.of(run) for run in runs]
    weights = _weights(0)
    challengers = tuple(
        _challenger(
            names[i],
            judged.name,
            plan,
            (draw[names[0]], draw[names[i]]),
            (
                blocks[0].metrics(weights),
                blocks[i].metrics(weights if design == "blocks" else _weights(i)),
            ),
        )
        for i in range(1, len(runs))
    )
    outcome = Outcome(
        control=names[0],
        metric=judged.name,
        design=design,
        draws=1,
        most_draws=1,
        looks=(1,),
        level=plan.level,
        margin=margin,
        at_look=True,
        decided=True,
        challengers=challengers,
        caveats=(*_unlike(names, runs), *caveats([draw], names)),
    )
    return Found(outcome, [draw])


def _unlike(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Return in what runs differ that no setting explains."""
    said = []
    kinds = ["simulated" if run.record.kind == SIMULATION else "measured" for run in runs]
    for what, values in (
        ("kinds", kinds),
        ("models", [run.record.config.get("model") for run in runs]),
        ("devices", [run.record.config.get("device") for run in runs]),
    ):
        if len(set(map(str, values))) > 1:
            each = ", ".join(f"{n.upper()} {v}" for n, v in zip(names, values, strict=True))
            said.append(f"different {what} ({each})")
    return said


def _same_arrivals(runs: Sequence[Observation]) -> bool:
    first = runs[0]
    return first.sha256 is not None and all(
        run.sha256 == first.sha256 and run.window_s == first.window_s for run in runs
    )


def _weights(stream: int) -> FloatArray:
    """Return how often each block is drawn, `[1 + resamples, blocks]`; first each block once."""
    rng = np.random.default_rng((20, stream))
    drawn = rng.multinomial(BLOCKS, [1.0 / BLOCKS] * BLOCKS, size=_RESAMPLES)
    return np.concatenate((np.ones((1, BLOCKS)), drawn.astype(np.float64)))


def _challenger(
    name: str,
    judged: str,
    plan: Plan,
    pair: tuple[Observation, Observation],
    resampled: tuple[dict[str, FloatArray], dict[str, FloatArray]],
) -> Challenger:
    effects = [
        _effect(metric, plan, pair, (resampled[0].get(metric), resampled[1].get(metric)))
        for metric in compared(judged, [pair])
    ]
    return Challenger(
        arm=name,
        judged=effects[0],
        others=tuple(corrected(effects[1:], plan.level)),
        saturated=int(pair[1].saturated),
        control_saturated=int(pair[0].saturated),
        draws=1,
        hopeless=True,
    )


def _effect(
    name: str,
    plan: Plan,
    pair: tuple[Observation, Observation],
    resampled: tuple[FloatArray | None, FloatArray | None],
) -> MetricEffect:
    metric = METRICS[name]
    a, b = pair[0].values[name], pair[1].values[name]
    strain = Strain.of(metric, [pair])
    reason = strain.reason if strain.any else None
    spread = None
    if not a or not b:
        reason = reason or "it was not measured, or is 0"
    elif resampled[0] is not None and resampled[1] is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.log(resampled[1] / resampled[0])[1:]
        if np.isfinite(ratios).all():
            spread = float(ratios.std()) * sqrt(BLOCKS / (BLOCKS - 1)) * WIDENED
    if reason is not None or spread is None or not a or not b:
        return MetricEffect(
            metric=name,
            verdict=Verdict.INCONCLUSIVE,
            reason=reason or "too few requests in the blocks of time",
            unable=sum(strain.challenger),
            control_unable=sum(strain.control),
            draws=1,
        )
    effect = _interval(log(b / a), spread, plan.level)
    verdict = Verdict.INCONCLUSIVE
    if min(run.window_s for run in pair) >= SHORTEST_S:
        verdict = paired.verdict_of(effect, plan, metric.direction)
    made = from_effect(metric, effect, verdict, plan, control=a)
    return made.model_copy(update={"draws": 1, "noise": None, "draws_needed": None})


def _interval(log_ratio: float, spread: float, level: float) -> Effect:
    half = paired.student_quantile(1.0 - level / 2.0, BLOCKS - 1) * spread
    noise = spread * sqrt(BLOCKS)
    return Effect(
        log_ratio=log_ratio,
        low=log_ratio - half,
        high=log_ratio + half,
        level=level,
        draws=BLOCKS,
        noise=noise,
        p=paired.two_sided_p(abs(log_ratio), noise, BLOCKS),
        sign_flip_p=None,
    )


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Sums of one run for each block of time, `[B]`, and its latencies by block.

    `at_most[b, m]` is how many requests scheduled in block b took no longer than `grid_s[m]`.
    """

    window_s: float
    grid_s: FloatArray
    at_most: FloatArray
    requests: FloatArray
    latency_s: FloatArray
    answers: FloatArray
    good: FloatArray | None
    busy_s: FloatArray | None
    batches: FloatArray
    batched: FloatArray

    @classmethod
    def of(cls, run: Run) -> "_Blocks":
        window_s = run.record.window_s
        edges = np.linspace(0.0, window_s, BLOCKS + 1)
        scheduled = floats(run.requests, "scheduled_s")
        counted = inside(scheduled, window_s)
        latency = latency_column(run)
        block = _block_of(scheduled[counted], edges)
        ended = floats(run.requests, "ended_s")
        answered = has_status(run.requests, "ok") & inside(ended, window_s)
        taken = floats(run.batches, "taken_s")
        dispatched = inside(taken, window_s)
        batch_block = _block_of(taken[dispatched], edges)
        grid, at_most = _counts(latency[counted], block)
        limit_s = run.slo_latency_s
        within = answered & (latency <= (limit_s or 0.0))
        return cls(
            window_s=window_s,
            grid_s=grid,
            at_most=at_most,
            requests=_tally(block),
            latency_s=_tally(block, latency[counted]),
            answers=_tally(_block_of(ended[answered], edges)),
            good=None if limit_s is None else _tally(_block_of(ended[within], edges)),
            busy_s=busy_between(run.batches, run.devices, edges),
            batches=_tally(batch_block),
            batched=_tally(batch_block, floats(run.batches, "size")[dispatched]),
        )

    def metrics(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return each metric of each resample `[R]`; infinite or NaN where there is none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "mean": (weights @ self.latency_s) / (weights @ self.requests),
                "throughput": (weights @ self.answers) / self.window_s,
                "batch_size": (weights @ self.batched) / (weights @ self.batches),
            }
            if self.good is not None:
                found["goodput"] = (weights @ self.good) / self.window_s
            if self.busy_s is not None:
                found["device_time"] = (weights @ self.busy_s) / (weights @ self.answers)
        counts = weights @ self.at_most
        total = weights @ self.requests
        for metric in METRICS.values():
            if metric.per_mille is not None:
                found[metric.name] = self._percentile(counts, total, metric.per_mille)
        return found

    def _percentile(self, counts: FloatArray, total: FloatArray, per_mille: int) -> FloatArray:
        rank = np.maximum(np.ceil(total * per_mille / 1000.0 - 1e-9), 1.0)
        reached = counts >= rank[:, None]
        first = reached.argmax(axis=1)
        return np.where(reached[np.arange(len(rank)), first], self.grid_s[first], np.inf)


def _block_of(times_s: FloatArray, edges_s: FloatArray) -> npt.NDArray[np.int64]:
    return np.clip(np.searchsorted(edges_s, times_s, side="right") - 1, 0, BLOCKS - 1)


def _tally(block: npt.NDArray[np.int64], values: FloatArray | None = None) -> FloatArray:
    return np.bincount(block, weights=values, minlength=BLOCKS).astype(np.float64)


def _counts(latency_s: FloatArray, block: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return a grid of latencies, dense in the tail, and the counts up to each by block."""
    ordered = np.sort(latency_s[np.isfinite(latency_s)])
    number = len(ordered)
    if number == 0:
        return np.array([np.inf]), np.zeros((BLOCKS, 1))
    ranks = np.arange(number)
    if number > 2 * _GRID:
        tail = number - np.geomspace(1, number, _GRID)
        ranks = np.unique(
            np.concatenate((np.linspace(0, number - 1, _GRID), tail)).astype(np.int64)
        )
    grid = np.unique(ordered[ranks])
    per_block = [
        np.searchsorted(np.sort(latency_s[block == b]), grid, "right") for b in range(BLOCKS)
    ]
    return grid, np.array(per_block, dtype=np.float64)
