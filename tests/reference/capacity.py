"""The part `capacity`: the highest load within the SLO, by bisection with real replays.

All arms meet the same draw of bursty.json, stretched to each load, so that their ratios are theirs
and not the draw's. Where to begin is found in simulation; what is reported is measured. The arms
take turns, and each trial is kept at once: wherever it ends, all are known about as well.
"""

import shlex
import time
import tomllib
from dataclasses import dataclass

from bench.cli import outcome_of
from bench.settings import BatcherSettings
from bench.simulation.capacity import LatencyObjective, find_capacity
from bench.simulation.setup import Setup
from bench.traces.arrivals import Draws
from bench.traces.source import load_replayed
from tests.reference.bisection import boundary, following
from tests.reference.plan import SLO
from tests.reference.replaying import Replays
from tests.reference.step import command_of
from tests.reference.tuning import RECOMMENDED

# A replay's window, and what starting, draining and analysing add at the least; seconds.
_WINDOW_S, _AROUND_S = 6.0, 2.0
_MOST_TRIALS = 9
# Of fewer requests nothing can be said: no lower load is tried.
_FEWEST = 30
_REPLAY = {"trace": "bursty.json", "duration": _WINDOW_S, "seed": 7}


@dataclass(frozen=True)
class Arm:
    """A setting whose capacity is looked for: its name, and the keys of `[batcher]`."""

    name: str
    batcher: dict


def run(context):
    """Write `capacity.json`: of each arm what was tried, and what is known by that."""
    engine = context.engine
    replays = Replays(
        context.plan.model_settings(engine), context.profile_of(engine), predict=False
    )
    all_arms = arms(context)
    found = {arm.name: _begun(replays, arm, context) for arm in all_arms}
    replays.load(all_arms[0].batcher, {"trace": "bursty.json", "rate": 1.0})
    context.start()
    failed = {}
    trial_s = _WINDOW_S + _AROUND_S
    tried = False
    while not tried or context.left_s > trial_s:
        open_arms = [
            arm for arm in all_arms if arm.name not in failed and _next(found[arm.name]) is not None
        ]
        if not open_arms:
            break
        arm = min(open_arms, key=lambda arm: len(found[arm.name]["trials"]))
        began_s = time.monotonic()
        try:
            trial = attempt(replays, arm, context, _next(found[arm.name]))
        except Exception as error:
            if outcome_of(error) is None:
                raise
            failed[arm.name] = f"{arm.name}: {error}"  # no reason to leave the others out
            continue
        trial_s, tried = time.monotonic() - began_s, True
        trials = [*found[arm.name]["trials"], trial]
        found[arm.name] = {**found[arm.name], **boundary(trials), "trials": trials}
        context.folder.add("capacity", arm.name, found[arm.name])
    still = [arm.name for arm in all_arms if arm.name not in failed and _next(found[arm.name])]
    if still:
        return "; ".join([*failed.values(), f"brackets are still open: {', '.join(still)}"])
    return "; ".join(failed.values())


def arms(context):
    """What is compared; without a recommendation the plain setting: no wait, the best batch."""
    plain = context.folder.read("profile")[context.engine]["peak_batch_size"]
    config = context.folder.path / RECOMMENDED
    if config.exists():
        recommended = tomllib.loads(config.read_text(encoding="utf-8"))["batcher"]
        name = "recommended"
    else:
        recommended = {"policy": "timeout", "max_batch_size": plain, "batch_timeout_ms": 0.0}
        name = "plain"
    window = {"policy": "window", "max_batch_size": 32, "batch_timeout_ms": 10.0}
    alone = {"policy": "timeout", "max_batch_size": 1, "batch_timeout_ms": 0.0}
    return [
        Arm(name, recommended),
        Arm("window 32/10 ms", window),
        Arm("no batching", alone),
        Arm("default", {}),
    ]


def _begun(replays, arm, context):
    """What is known of an arm before its first trial here."""
    batcher = BatcherSettings(**arm.batcher).model_dump(mode="json")
    earlier = context.folder.read("capacity").get(arm.name)
    if earlier and earlier["batcher"] == batcher and earlier["engine"] == context.engine:
        return earlier
    start_rps, limit_rps = simulated(replays, arm, LatencyObjective.parse(SLO))
    return {
        "engine": context.engine,
        "batcher": batcher,
        "slo": SLO,
        **boundary(()),
        "simulated_rps": start_rps,
        "full_queue_rps": limit_rps,
        "trials": [],
    }


def _next(known):
    """The load to try next, req/s; None where the bracket is closed, or nothing more is tried."""
    if len(known["trials"]) >= _MOST_TRIALS:
        return None
    least_rps = _FEWEST / _WINDOW_S
    outcomes = [(trial["asked_rps"], trial["met"]) for trial in known["trials"]]
    return following(outcomes, max(known["simulated_rps"], least_rps), least_rps)


def attempt(replays, arm, context, rate_rps):
    """Replay at one load and judge it."""
    objective = LatencyObjective.parse(SLO)
    rate_rps = round(rate_rps, 2)
    tables = {
        "model": context.plan.model_settings(context.engine),
        "batcher": arm.batcher,
        "replay": {**_REPLAY, "rate": rate_rps},
    }
    command = command_of(tables)

    def read(found):
        judged = objective.judged(found)
        device = found.metrics.device
        return {
            "rate_rps": found.metrics.offered_rps,
            "asked_rps": rate_rps,
            "command": command,
            "met": judged["met"],
            "p99_s": judged["value_s"],
            "valid": found.record.valid,
            "findings": [finding.code for finding in found.record.findings],
            "throughput_rps": found.metrics.throughput_rps,
            "busy_fraction": device.busy_fraction,
            "energy_j_per_request": device.energy_j_per_request,
            "mean_batch_size": found.metrics.batch.mean_size,
        }

    settings = replays.settings(arm.batcher, tables["replay"])
    return replays.run(settings, shlex.split(command), read)


def simulated(replays, arm, objective):
    """Where simulation has the boundary, and what it serves of a full queue; requests a second."""
    settings = replays.settings(arm.batcher, {**_REPLAY, "rate": 1.0})
    if settings.batcher.max_batch_size > replays.source.max_batch_size:
        return replays.source.peak_rps / 2.0, None  # a slow model: such batches are not profiled
    setup = Setup(settings.batcher, replays.source)
    draws = Draws(load_replayed(settings.replay, replays.quiet), settings.replay, 1)
    try:
        found = find_capacity(setup, draws, objective.met, tolerance=0.02)
    except Exception as error:
        if outcome_of(error) is None:
            raise
        return replays.source.peak_rps / 2.0, None  # no load that low has arrivals in a window
    edge = found.met or found.missed  # one of the two there always is
    return edge.rate_rps, found.limit_rps
