"""What a load has to meet, asked of simulated draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from bench.errors import InputError
from bench.simulation.capacity import pooled_mean_s, pooled_percentile_s
from bench.simulation.totals import Outcome
from results.errors import InvalidInputError
from results.run.record import Run
from results.run.slo import Kind, Slo
from results.run.verdict import judge


@dataclass(frozen=True)
class LatencyObjective:
    """An SLO on a percentile or the mean of latency.

    A request without an answer took for ever, so turning requests away cannot meet it.
    """

    slo: Slo

    @classmethod
    def parse(cls, text: str) -> "LatencyObjective":
        """Read 'p99<=50ms'.

        Raises:
            InputError: it is no SLO, or one on something else than latency.
        """
        try:
            slo = Slo.parse(text)
        except InvalidInputError as error:
            raise InputError(f"slo: {error}") from None
        if slo.objective.kind is not Kind.LATENCY:
            raise InputError(
                "slo must be on a percentile or the mean of latency, as p99<=50ms, "
                f"but got {text!r}"
            )
        return cls(slo)

    @property
    def name(self) -> str:
        """What is limited, for short: p99."""
        return self.slo.objective.name

    @property
    def limit_s(self) -> float:
        """Seconds."""
        return self.slo.limit

    def value_s(self, outcomes: Sequence[Outcome]) -> float:
        """What it came to over the requests of all draws together, seconds."""
        level = self.slo.objective.level
        return pooled_mean_s(outcomes) if level is None else pooled_percentile_s(outcomes, level)

    def met(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether the draws, taken together, are within the limit."""
        return self.slo.holds(self.value_s(outcomes))

    def judged(self, run: Run) -> dict[str, Any]:
        """What a measured run says of it: the value in seconds, whether that is met, the verdict.

        `value_s` is null where a request without an answer decides it. A run at the very boundary
        is seldom long enough for a verdict at 99 % confidence: then `decision` is undecided.
        """
        window_s = run.record.window_s
        inside = run.requests[run.requests["scheduled_s"] < window_s]
        times_s = np.asarray(inside["ended_s"] - inside["scheduled_s"], dtype=np.float64)
        latency_s = np.where(inside["status"] == "ok", times_s, inf)
        verdict = judge(latency_s, self.slo, window_s=window_s)
        estimate_s = inf if verdict.estimate is None else verdict.estimate
        return {
            "value_s": verdict.estimate,
            "met": self.slo.holds(estimate_s),
            "decision": verdict.decision,
            "low_s": verdict.low,
            "high_s": verdict.high,
        }
