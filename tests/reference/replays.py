"""The parts `bench` and `fidelity`: replays at several loads, each predicted before."""

import shlex

from results.run.predicted import measured
from tests.reference.plan import TRACES
from tests.reference.replaying import Replays
from tests.reference.step import MissingPartError, command_of

# The cell that is kept whole; its report is drawn at the end.
SHOWN = ("bursty", 0.7)
# Starting, draining and analysing a replay, beside its window.
_AROUND_S = 3.0
_SHORTEST_S = 2.0


def run(context, part, loads):
    """Replay the cells that this part has not; `fidelity` repeats those of `bench`."""
    engine = context.engine
    replays = Replays(context.plan.model_settings(engine), context.profile_of(engine))
    done = context.folder.read(part)
    if part == "fidelity":
        # A repetition is of the same arrivals, so as long as the first.
        replayed = context.folder.read("bench")
        cells = {key: replayed[key]["settings"] for key in names(loads) if key in replayed}
        if not cells:
            raise MissingPartError("there must be replays to repeat: run the part 'bench' first")
    else:
        cells = planned(context, replays.profile, loads)
    waiting = {key: own for key, own in cells.items() if key not in done}
    for own in waiting.values():
        replays.load(own["batcher"], own["replay"])
        break
    context.start()
    for number, (key, own) in enumerate(waiting.items()):
        window_s = own["replay"]["duration"]
        if number and context.left_s < window_s + _AROUND_S:
            return f"{len(waiting) - number} of {len(cells)} cells are left to be replayed"
        context.folder.add(part, key, cell(context, replays, key, own))
    return ""


def names(loads):
    """The cells by name, in the order of importance: all loads of a trace would be half a table."""
    return {
        f"{trace.removesuffix('.json')} {load}": (trace, load) for load in loads for trace in TRACES
    }


def planned(context, profile, loads):
    """Each cell's settings."""
    plan, engine = context.plan, context.engine
    window_s = context.seconds / (len(TRACES) * len(loads)) - _AROUND_S
    window_s = round(min(plan.window_s, max(_SHORTEST_S, window_s)), 1)
    for earlier in context.folder.read("bench").values():  # one table, one window
        window_s = earlier["settings"]["replay"]["duration"]
    knobs = {
        "policy": "timeout",
        "max_batch_size": profile.peak_batch_size,
        "batch_timeout_ms": plan.timeout_ms,
    }
    return {
        key: {
            "model": plan.model_settings(engine),
            "batcher": knobs,
            "replay": {
                "trace": trace,
                "rate": round(load * profile.peak_rps, 1),
                "duration": window_s,
                "seed": 7,
            },
        }
        for key, (trace, load) in names(loads).items()
    }


def cell(context, replays, key, own):
    """Replay one and reduce it to numbers."""
    settings = replays.settings(own["batcher"], own["replay"])
    command = command_of(own)

    def read(found):
        if key == f"{SHOWN[0]} {SHOWN[1]}" and context.step.part == "bench":
            context.folder.keep_run(found.path)
        return {
            "settings": own,
            "command": command,
            "valid": found.record.valid,
            "findings": [finding.code for finding in found.record.findings],
            "predicted": found.record.prediction,
            "measured": measured(found.metrics),
            "metrics": found.metrics.model_dump(mode="json"),
        }

    return replays.run(settings, shlex.split(command), read)
