"""The part `capacity`: the highest load within the SLO, by bisection with real replays.

All arms meet the same draw of bursty.json, stretched to each load, so that their ratios are theirs
and not the draw's. Where to begin is found in simulation; what is reported is measured.
"""

import shlex
import time
import tomllib
from dataclasses import dataclass

from bench.cli import outcome_of
from bench.config import BatcherSettings
from bench.simulation.arrivals import Draws
from bench.simulation.capacity import find_capacity
from bench.simulation.objective import LatencyObjective
from bench.simulation.runner import Setup
from bench.trace_source import load_replayed
from tests.reference.plan import SLO
from tests.reference.replaying import Replays
from tests.reference.step import command_of
from tests.reference.tuning import RECOMMENDED

# A replay's window, and what starting, draining and analysing add at the least; seconds.
_WINDOW_S, _AROUND_S = 6.0, 2.0
# The first steps away from where simulation says the boundary is; they double each time.
_STEP = 1.08
# Relative width of the bracket that is narrow enough.
_TOLERANCE = 0.04
_MOST_TRIALS = 9
# Of fewer requests nothing can be said: no lower load is tried.
_FEWEST = 30


@dataclass(frozen=True)
class Arm:
    """A setting whose capacity is looked for: its engine, and the keys of `[batcher]`."""

    name: str
    engine: str
    batcher: dict


def run(context):
    """Write `capacity.json`, one arm after the other, each with what it was measured by."""
    waiting = [arm for arm in arms(context) if arm.name not in context.folder.read("capacity")]
    served = {}
    failed = []
    for number, arm in enumerate(waiting):
        left_s = context.left_s / (len(waiting) - number)
        if number and left_s < _WINDOW_S + _AROUND_S:
            names = ", ".join(other.name for other in waiting[number:])
            return "; ".join([*failed, f"no time was left for: {names}"])
        if arm.engine not in served:
            served.clear()  # one model at a time in the device's memory
            served[arm.engine] = Replays(
                context.plan.model_settings(arm.engine),
                context.profile_of(arm.engine),
                predict=False,
            )
            served[arm.engine].load(arm.batcher, {"trace": "bursty.json", "rate": 1.0})
            if not number:
                context.start()
        try:
            found = measured(served[arm.engine], arm, context, left_s)
        except Exception as error:
            if outcome_of(error) is None:
                raise
            failed.append(f"{arm.name}: {error}")  # no reason to leave the others out
        else:
            context.folder.add("capacity", arm.name, found)
    return "; ".join(failed)


def arms(context):
    """What is compared; without a recommendation the plain setting: no wait, the best batch."""
    best = context.engine
    plain = context.folder.read("profile")[best]["peak_batch_size"]
    config = context.folder.path / RECOMMENDED
    if config.exists():
        recommended = tomllib.loads(config.read_text(encoding="utf-8"))["batcher"]
    else:
        recommended = {"policy": "timeout", "max_batch_size": plain, "batch_timeout_ms": 0.0}
    window = {"policy": "window", "max_batch_size": 32, "batch_timeout_ms": 10.0}
    alone = {"policy": "timeout", "max_batch_size": 1, "batch_timeout_ms": 0.0}
    chosen = [
        Arm("recommended", best, recommended),
        Arm("window 32/10 ms", best, window),
        Arm("no batching", best, alone),
    ]
    if best != "eager" and context.profile_of("eager").exists():
        chosen.append(Arm("no batching, eager", "eager", alone))
    return chosen


def measured(replays, arm, context, seconds):
    """Bisect one arm on the device."""
    model = context.plan.model_settings(arm.engine)
    objective = LatencyObjective.parse(SLO)
    replay = {"trace": "bursty.json", "duration": _WINDOW_S, "seed": 7}
    start_rps, limit_rps = simulated(replays, arm, objective, replay)
    own = {"model": model, "batcher": arm.batcher}
    tried = []
    until_s = time.monotonic() + seconds

    def attempt(rate_rps):
        rate_rps = round(rate_rps, 2)
        tables = {**own, "replay": {**replay, "rate": rate_rps}}
        command = command_of(tables)
        settings = replays.settings(arm.batcher, tables["replay"])

        def read(found):
            judged = objective.judged(found)
            return {
                "rate_rps": found.metrics.offered_rps,
                "asked_rps": rate_rps,
                "command": command,
                "met": judged["met"],
                "p99_s": judged["value_s"],
                "valid": found.record.valid,
                "findings": [finding.code for finding in found.record.findings],
                "throughput_rps": found.metrics.throughput_rps,
                "busy_fraction": found.metrics.device.busy_fraction,
                "mean_batch_size": found.metrics.batch.mean_size,
            }

        tried.append(replays.run(settings, shlex.split(command), read))
        return tried[-1]["met"]

    def has_time():
        return time.monotonic() + _WINDOW_S + _AROUND_S < until_s and len(tried) < _MOST_TRIALS

    least_rps = _FEWEST / _WINDOW_S
    bracket(attempt, max(start_rps, least_rps), has_time, least=least_rps)
    return {
        "engine": arm.engine,
        "batcher": BatcherSettings(**arm.batcher).model_dump(mode="json"),
        "slo": SLO,
        **boundary(tried),
        "simulated_rps": start_rps,
        "full_queue_rps": limit_rps,
        "trials": tried,
    }


def boundary(trials):
    """The highest load that met the SLO, and the lowest that missed it, as they were offered.

    That is not what was asked for: a draw of a bursty trace has more or fewer arrivals in its
    window than its rate says, by the same factor in all trials, since they are of one draw.
    """
    met = [trial["rate_rps"] for trial in trials if trial["met"]]
    missed = [trial["rate_rps"] for trial in trials if not trial["met"]]
    return {
        "rate_rps": max(met, default=None),
        "missed_at_rps": min(missed, default=None),
    }


def simulated(replays, arm, objective, replay):
    """Where simulation has the boundary, and what it serves of a full queue; requests a second."""
    settings = replays.settings(arm.batcher, {**replay, "rate": 1.0})
    if settings.batcher.max_batch_size > replays.source.max_batch_size:
        return replays.source.peak_rps / 2.0, None  # a slow model: such batches are not profiled
    setup = Setup(settings.batcher, replays.source)
    draws = Draws(load_replayed(settings.replay, replays.quiet), settings.replay, 1)
    found = find_capacity(setup, draws, objective.met, tolerance=0.02)
    boundary = found.met or found.missed  # one of the two there always is
    return boundary.rate_rps, found.limit_rps


def bracket(attempt, start, goes_on, least=0.0):
    """The highest value that passes and the lowest that does not, by doubling steps and bisection.

    Args:
        attempt: value -> whether it passes.
        start: where to begin, > 0.
        goes_on: whether there may be one more attempt, after the first.
        least: nothing lower is tried, unless it is begun with.

    Returns:
        (highest passed, lowest failed); None for one that was not met with.
    """
    passed = failed = None
    value, step = start, _STEP
    while True:
        if attempt(value):
            passed = value
        else:
            failed = value
        if passed is not None and failed is not None:
            if failed <= (1.0 + _TOLERANCE) * passed:
                break
            value = (passed * failed) ** 0.5
        else:
            value = value * step if failed is None else value / step
            step *= step
        if value < least or not goes_on():
            break
    return passed, failed
