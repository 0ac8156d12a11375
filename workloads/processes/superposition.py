"""Several processes at once."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import InstanceOf, StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import (
    ArrivalProcess,
    as_json,
    check_draw,
)
from workloads.processes.dispersion import CountDispersion, check_window
from workloads.processes.streams import check_count
from workloads.trace import Times

MOST_PARTS = 100


@dataclass(frozen=True)
class Part:
    """One of the processes of a superposition.

    Attributes:
        process: What shapes its arrivals; any process but a superposition.
        share: Its share of the mean rate, above 0 to 1.
    """

    process: InstanceOf[ArrivalProcess]
    share: StrictFloat

    def __post_init__(self) -> None:
        if isinstance(self.process, Superposition):
            raise ProcessError(
                "a part must be a simple process, but got a superposition: list its parts instead"
            )
        if not 0 < self.share <= 1:
            raise ProcessError(f"share must be above 0 and at most 1, but got {self.share:.12g}")

    def as_json(self) -> dict[str, Any]:
        """The part as a trace file writes it: its process with `share` beside the parameters."""
        return as_json(self.process) | {"share": self.share}


@dataclass(frozen=True)
class Superposition:
    """The arrivals of several independent processes, in one stream.

    Each part has its share of the mean rate and a generator to itself, so that changing one, or
    adding one at the end, leaves the bursts of the others where they were.

    Counts of independent processes add up in mean and variance: with p the shares, r the mean
    rate and D_i(t) variance / mean of the counts of part i at rate p_i r, the superposition has
    D(t) = sum of p_i D_i(t). The gaps have no such formula.

    Attributes:
        parts: Two to 100 processes, each with a `share`; the shares add up to 1.
    """

    kind: ClassVar[str] = "superposition"

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        within("the number of parts", len(self.parts), 2, MOST_PARTS, ProcessError)
        total = math.fsum(part.share for part in self.parts)
        # Shares that are thirds are rounded, and add up to 1 all the same.
        if abs(total - 1) > 1e-6:
            raise ProcessError(f"the shares of the parts must add up to 1, but got {total:.12g}")

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        check_count(rate_rps * duration_s)
        streams = [
            part.process.arrivals(part.share * rate_rps, duration_s, child)
            for part, child in zip(self.parts, rng.spawn(len(self.parts)), strict=True)
        ]
        times_s = np.concatenate(streams)
        times_s.sort(kind="stable")  # which merges what is sorted already
        return times_s

    def gap_cv(self, rate_rps: float) -> float:
        """nan: there is no formula in terms of the parts' own."""
        check_draw(rate_rps, 1.0)
        return math.nan

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """By the formula above; nan where one of the parts has none."""
        check_window(rate_rps, span_s)
        return math.fsum(
            part.share * part.process.count_dispersion(part.share * rate_rps, span_s)
            if isinstance(part.process, CountDispersion)
            else math.nan
            for part in self.parts
        )
