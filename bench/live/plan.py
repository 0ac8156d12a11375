"""What is about to be run: the arrivals, their prediction, and when it may end.

Everything that can be wrong with the input is found here, before a file is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import InputError
from bench.live.early_stop import LONGEST_S, planned
from bench.live.prediction import Prediction, predict
from bench.live.session import Session
from bench.profiling.load import Loaded
from bench.settings import Settings
from bench.traces.arrivals import Spec, length_s, resolve
from workloads import ListedTrace, ResolvedTrace


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a session's model.

    Attributes:
        settings: what was asked for.
        arrivals: what is sent; with --until-decided as many as may be needed.
        payloads: what they carry, used in turn.
        looks_s: when the run is looked at, seconds of the window; empty without --until-decided.
        loaded: batch times that predict it; None predicts nothing.
        prediction: of all arrivals; None where it was not made yet.
    """

    settings: Settings
    arrivals: ResolvedTrace
    payloads: Sequence[Any]
    looks_s: tuple[float, ...] = ()
    loaded: Loaded | None = None
    prediction: Prediction | None = None


def plan_run(
    session: Session, settings: Settings, spec: Spec, loaded: Loaded | None = None
) -> PlannedRun:
    """Settle the load and draw the arrivals; predict the run where there are batch times.

    Args:
        session: the model.
        settings: with the knobs and the load.
        spec: what the trace file holds.
        loaded: batch times of the model.

    Raises:
        WorkloadError, InputError: the trace cannot be played as asked.
        RunFailedError: the model raised.
    """
    knobs, replay = settings.batcher, settings.replay

    def arrivals_of(duration_s: float | None) -> ResolvedTrace:
        lasting = replay.model_copy(update={"duration": duration_s})
        return resolve(spec, lasting, lambda: session.peak_rps(knobs, loaded))

    looks_s: tuple[float, ...] = ()
    duration_s = replay.duration
    if settings.slo.until_decided:
        first_s = length_s(spec, replay)
        if first_s is None:
            raise InputError(
                "until_decided must have a --duration to start with, shorter than the recording, "
                "but has none"
            )
        duration_s = settings.slo.max_duration or max(LONGEST_S, first_s)
        if isinstance(spec, ListedTrace):
            # A recording goes on as far as it has arrivals.
            duration_s = min(duration_s, arrivals_of(None).window_s)
        if duration_s <= first_s:
            raise InputError(
                f"until_decided must have more than the duration of {first_s:g} s to go on to, "
                f"but has {duration_s:.6g} s"
            )
        looks_s = planned(first_s, duration_s)
    arrivals = arrivals_of(duration_s)
    factor = arrivals.describe()["match_factor"]
    if factor is not None:
        session.console.print(
            f"load matched at {arrivals.requests:,} requests: all times of the draw x {factor:.4g}"
        )
    prediction = None
    if loaded is not None:
        prediction = predict(knobs, session.replicas(knobs), loaded, arrivals)
    payloads = session.payloads(arrivals.seed or 0)
    session.release_executor()
    return PlannedRun(settings, arrivals, payloads, looks_s, loaded, prediction)
