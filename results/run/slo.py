"""Service level objectives: `metric op value[unit]`, such as p99<=50ms.

The metrics are those of run.json that a run can be judged on: what is averaged over its requests or
its time. Their list is read off the models of `results.run.metrics`.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal, get_args

from results.errors import InvalidInputError
from results.run.device_metrics import DeviceMetrics
from results.run.metrics import (
    Breakdown,
    Counts,
    Latency,
    Metrics,
    Spread,
)

Operator = Literal["<=", "<", ">=", ">"]

_SHAPE = re.compile(
    r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*(?P<op><=|>=|<|>)\s*"
    r"(?P<value>[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*(?P<unit>\S*)\s*"
)


class Kind(StrEnum):
    """How a metric is made from a run, and so how it is judged."""

    LATENCY = "latency"  # a percentile or the mean of latency
    PART = "part"  # the mean of a part of latency
    SLIP = "slip"  # a percentile of slip
    ENDING = "ending"  # the share of requests that ended so
    RATE = "rate"  # a number per second
    BUSY = "busy"  # a share of time


# What a value is divided by to be in the unit of run.json.
_TIME = {"ns": 1e9, "us": 1e6, "µs": 1e6, "ms": 1e3, "s": 1.0}
_SHARE = {"": 1.0, "%": 100.0}
_RATE = {"": 1.0, "req/s": 1.0, "rps": 1.0, "/s": 1.0}


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric that an SLO can be set on.

    Args:
        key: Its key in run.json; of `counts`, the share of the submitted is meant.
        name: What it is called for short.
        kind: How it is judged.
        units: The units it takes, and what to divide by for that of run.json.
        operators: The sides from which it can be limited.
    """

    key: str
    name: str
    kind: Kind
    units: dict[str, float]
    operators: tuple[str, ...]

    @property
    def level(self) -> float | None:
        """0.99 for a p99; None for what is no percentile."""
        last = self.key.rpartition(".")[2]
        if not re.fullmatch(r"p\d+(_\d+)?", last):
            return None
        digits = last[1:].replace("_", "")
        return float(f"0.{digits}")


@cache
def objectives() -> dict[str, Objective]:
    """Return every metric that an SLO can be set on, by its key in run.json.

    `max` is not among them: no number of requests bounds the maximum of all that could come.
    """
    below, above = ("<=", "<"), (">=", ">")
    listed: list[Objective] = []
    for section, model, kind, units in (
        ("latency_s", Latency, Kind.LATENCY, _TIME),
        ("breakdown_s", Breakdown, Kind.PART, _TIME),
        ("slip_s", Spread, Kind.SLIP, _TIME),
    ):
        names = [name for name in model.model_fields if name != "max"]
        prefix = "slip." if kind is Kind.SLIP else ""
        listed += [
            Objective(f"{section}.{n}", prefix + n.replace("_", "."), kind, units, below)
            for n in names
        ]
    for name in Counts.model_fields:
        if name != "submitted":
            side = above if name == "ok" else below
            listed.append(Objective(f"counts.{name}", name, Kind.ENDING, _SHARE, side))
    for name in Metrics.model_fields:
        if name.endswith("_rps") and name != "offered_rps":  # that one is asked for, not achieved
            short = name.removesuffix("_rps")
            listed.append(Objective(name, short, Kind.RATE, _RATE, above))
    for name in DeviceMetrics.model_fields:
        if name == "busy_fraction":
            listed.append(Objective(f"device.{name}", name, Kind.BUSY, _SHARE, get_args(Operator)))
    return {objective.key: objective for objective in listed}


@cache
def _by_name() -> dict[str, Objective]:
    """Every spelling that is understood: the short name and the key, with and without unit."""
    names: dict[str, Objective] = {}
    for objective in objectives().values():
        bare = re.sub(r"_(s|rps)(?=\.|$)", "", objective.key)
        for name in (objective.name, objective.key, bare):
            for spelling in (name, name.replace("_", ".") if objective.level else name):
                names.setdefault(spelling, objective)
        if objective.level is not None:
            names.setdefault(objective.key.replace("p99_9", "p99.9"), objective)
    return names


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective with its limit; `str` writes it so that `parse` reads it back.

    Args:
        metric: The key of its metric in run.json, e.g. latency_s.p99.
        op: How the metric has to compare with the limit.
        value: The limit in `unit`, finite.
        unit: As it was given, e.g. ms.
    """

    metric: str
    op: Operator
    value: float
    unit: str

    @classmethod
    def parse(cls, text: str, kinds: Collection[Kind] = tuple(Kind)) -> "Slo":
        """Return the SLO that a text such as "p99<=50ms" or "throughput_rps >= 1000 req/s" means.

        Args:
            text: What was given.
            kinds: Of which kinds its metric may be.

        Raises:
            InvalidInputError: It is not `metric op value[unit]`, they do not go together, or the
                metric is of another kind.
        """
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise InvalidInputError(
                f"an SLO must be 'metric op value[unit]', such as p99<=50ms or rejected<=1%, "
                f"but got {text!r}"
            )
        objective = _by_name().get(found["name"])
        if objective is None or objective.kind not in kinds:
            known = ", ".join(o.name for o in objectives().values() if o.kind in kinds)
            raise InvalidInputError(
                f"the metric of an SLO must be one of {known}, but got {found['name']!r}"
            )
        if found["op"] not in objective.operators:
            raise InvalidInputError(
                f"{objective.name} must be limited by {' or '.join(objective.operators)}, "
                f"but got {text!r}"
            )
        if found["unit"] not in objective.units:
            units = ", ".join(unit or "none" for unit in objective.units)
            got = repr(found["unit"]) if found["unit"] else "none"
            raise InvalidInputError(
                f"the unit of {objective.name} must be one of {units}, but got {got} in {text!r}"
            )
        op: Operator = found["op"]  # type: ignore[assignment]  # the pattern has no other
        slo = cls(objective.key, op, float(found["value"]), found["unit"])
        slo._check(text)
        return slo

    def _check(self, text: str) -> None:
        limit = self.limit
        share = self.objective.units is _SHARE
        if not math.isfinite(limit) or (share and limit > 1.0) or (limit <= 0.0 and not share):
            expected = "between 0 and 100 %" if share else "> 0 and finite"
            raise InvalidInputError(
                f"the limit of {self.objective.name} must be {expected}, but got {text!r}"
            )

    @property
    def objective(self) -> Objective:
        """What is limited."""
        return objectives()[self.metric]

    @property
    def limit(self) -> float:
        """The limit in the unit of run.json: seconds, requests per second, or a share of 1."""
        return self.value / self.objective.units[self.unit]

    @property
    def from_above(self) -> bool:
        """Whether the metric has to stay below the limit."""
        return self.op in {"<=", "<"}

    def holds(self, value: float) -> bool:
        """Return whether a value, in the unit of run.json, is within the limit."""
        strict = {"<": value < self.limit, ">": value > self.limit}
        within = value <= self.limit if self.from_above else value >= self.limit
        return strict.get(self.op, within)

    def __str__(self) -> str:
        value = repr(self.value).removesuffix(".0")
        return f"{self.objective.name}{self.op}{value}{self.unit}"


def goodput_limit_s(slos: tuple[Slo, ...]) -> float | None:
    """Return the latency limit of goodput: that of the highest percentile of latency limited."""
    limits = [
        (slo.objective.level, -slo.limit)
        for slo in slos
        if slo.objective.kind is Kind.LATENCY and slo.objective.level is not None
    ]
    return -max(limits)[1] if limits else None
