"""`dynbatch capacity`: what was found, in numbers and in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from bench.profiling.load import Loaded
from bench.simulation.bounds import bounds
from bench.simulation.capacity import Capacity, LatencyObjective, Trial, find_capacity
from bench.simulation.outcome import Outcome
from bench.simulation.setup import Setup
from bench.traces import arrivals
from results import format as fmt


@dataclass(frozen=True)
class Found:
    """A capacity and what it is to be compared with; loads in requests per second.

    Attributes:
        objective: what had to be met.
        capacity: the search.
        peak_rps: what all replicas serve at the batch size of the highest rate.
        bound_rps: what no setting can serve more than.
        own_rps: the load that the trace has by itself; None for one that is drawn at any load.
        draws: how many were taken together.
    """

    objective: LatencyObjective
    capacity: Capacity
    peak_rps: float
    bound_rps: float
    own_rps: float | None
    draws: int

    def as_json(self) -> dict[str, Any]:
        """What `capacity.json` holds of it; times in seconds, null where one had no answer."""
        found, met = self.capacity, self.capacity.met
        rate_rps = None if met is None else met.rate_rps
        return {
            "slo": str(self.objective.slo),
            "draws": self.draws,
            "rate_rps": rate_rps,
            "own_rps": self.own_rps,
            "multiple": None if rate_rps is None or not self.own_rps else rate_rps / self.own_rps,
            "utilization": None if rate_rps is None else rate_rps / self.peak_rps,
            "missed_rps": None if found.missed is None else found.missed.rate_rps,
            "limit_rps": found.limit_rps,
            "peak_rps": self.peak_rps,
            "bound_rps": self.bound_rps,
            "at_capacity": None if met is None else self._numbers(met),
            "trials": [self._numbers(trial) for trial in sorted(found.trials, key=_rate)],
        }

    def _numbers(self, trial: Trial) -> dict[str, Any]:
        value = self.objective.value_s
        return {
            "rate_rps": trial.rate_rps,
            "met": trial.met,
            "value_s": _known(value(trial.outcomes)),
            "of_each_draw_s": [_known(value([one])) for one in trial.outcomes],
            "requests": sum(one.requests for one in trial.outcomes),
            "mean_batch_size": _mean(trial.outcomes, "mean_batch_size"),
            "busy_fraction": _mean(trial.outcomes, "busy_fraction"),
            "device_s_per_request": _mean(trial.outcomes, "device_s_per_request"),
        }


def find(setup: Setup, objective: LatencyObjective, draws: arrivals.Draws, loaded: Loaded) -> Found:
    """Search the highest load that meets the objective.

    Args:
        setup: the batcher.
        objective: what must be met.
        draws: the arrivals at a load.
        loaded: where the batch times are from.

    Raises:
        WorkloadError: the trace cannot be played at a load that has to be tried.
    """
    seed = draws.replay.seed or 0
    return Found(
        objective=objective,
        capacity=find_capacity(setup, draws, objective.met, seed=seed),
        peak_rps=setup.replicas * loaded.source.peak_rps,
        bound_rps=bounds(np.empty(0), loaded.source, replicas=setup.replicas).capacity_rps,
        own_rps=arrivals.own_load_rps(draws.spec, draws.replay),
        draws=draws.count,
    )


def rows(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of what `capacity.json` holds, for the terminal."""
    slo, at = content["slo"], content["at_capacity"]
    if at is None:
        yield "capacity", f"none: {_none(slo, content['trials'])}"
    else:
        of_peak = f"{fmt.percent(content['utilization'])} of the peak"
        multiple = content["multiple"]
        own = "" if multiple is None else f", {fmt.number(multiple)} x the trace's own load"
        yield "capacity", f"{fmt.rate(content['rate_rps'])} with {slo}: {of_peak}{own}"
        each = ", ".join(_time(value) for value in at["of_each_draw_s"])
        yield (
            "there",
            f"{_time(at['value_s'])} ({each} in the draws), mean batch "
            f"{fmt.number(at['mean_batch_size'])}, device busy {fmt.percent(at['busy_fraction'])}",
        )
        missed = content["missed_rps"]
        yield (
            "bracket",
            f"met at {fmt.rate(content['rate_rps'])}, "
            + (
                "up to the limit: the queue has no end beyond it"
                if missed is None
                else f"missed at {fmt.rate(missed)}"
            ),
        )
    yield (
        "limit",
        f"{fmt.rate(content['limit_rps'])} with a queue that never empties, "
        f"{fmt.percent(content['limit_rps'] / content['bound_rps'])} of the "
        f"{fmt.rate(content['bound_rps'])} that no setting can exceed",
    )
    check = content["check"]
    if check is not None:
        yield "checked", _checked(content, check)


def _none(slo: str, trials: Sequence[Mapping[str, Any]]) -> str:
    if not trials:
        return "this policy gives up every request"
    lowest = trials[0]
    return (
        f"{slo} is missed even at {fmt.rate(lowest['rate_rps'])}, "
        f"where it is {_time(lowest['value_s'])}"
    )


def _checked(content: Mapping[str, Any], check: Mapping[str, Any]) -> str:
    """What the replay said: whether it met the SLO, and how far the simulation was off."""
    word = "met" if check["met"] else "MISSED"
    measured = f"measured {_time(check['value_s'])}, {content['slo']} {word}"
    if check["met"] and check["decision"] != "met":
        measured += " by this run, though it is too short to be certain"
    if not check["valid"]:
        measured += f"; the run is not valid ({', '.join(check['findings']).replace('_', ' ')})"
    return f"{measured}: {check['run']}"


def _time(value_s: float | None) -> str:
    return "without an end" if value_s is None else fmt.duration(value_s)


def _mean(outcomes: Sequence[Outcome], name: str) -> float | None:
    values = [getattr(one, name) for one in outcomes]
    mean = float(np.mean(values))
    return _known(mean)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _rate(trial: Trial) -> float:
    return trial.rate_rps
