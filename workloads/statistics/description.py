"""All that is said of a trace at once."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workloads.statistics.autocorrelation import Autocorrelation, autocorrelation
from workloads.statistics.counts import Scale, scales
from workloads.statistics.gaps import Gaps, gaps, nearest_ranks
from workloads.trace import Tokens, Trace


@dataclass(frozen=True)
class TokenStatistics:
    """A column of token counts.

    Attributes:
        total: Sum of all.
        mean: Mean.
        min: Smallest.
        quantiles: p1 to p99_9 by nearest rank.
        max: Largest.
    """

    total: int
    mean: float
    min: int
    quantiles: dict[str, float]
    max: int


@dataclass(frozen=True)
class TraceStatistics:
    """What a trace is like.

    Attributes:
        name: Of the trace.
        requests: How many.
        duration_s: The span covered, in seconds.
        rate_rps: requests / duration_s; None where there is no duration.
        resolution_s: The step to which arrivals are known, where several share one, else None.
        gaps: The times between arrivals; None with fewer than two, or where they are not known.
        scales: The counts in windows of 1, 2, 5, 10, ... of a decade; empty for a trace too
            short for 30 windows of any length at which requests meet.
        autocorrelation: Of the counts; None where there are too few windows.
        tokens: By column, `input_tokens` and `output_tokens` where there are any.
    """

    name: str
    requests: int
    duration_s: float
    rate_rps: float | None
    resolution_s: float | None
    gaps: Gaps | None
    scales: tuple[Scale, ...]
    autocorrelation: Autocorrelation | None
    tokens: dict[str, TokenStatistics]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; what is not known is None."""
        values = asdict(self)
        for scale, content in zip(self.scales, values["scales"], strict=True):
            content["peak_to_mean"] = scale.peak_to_mean
        if self.autocorrelation:
            values["autocorrelation"]["correlated_s"] = self.autocorrelation.correlated_s
        return values


def describe(trace: Trace) -> TraceStatistics:
    """Describe a trace of any size; time and memory are of the order of its requests."""
    columns = {name: getattr(trace, name) for name in ("input_tokens", "output_tokens")}
    return TraceStatistics(
        name=trace.name,
        requests=len(trace),
        duration_s=trace.duration_s,
        rate_rps=trace.rate_rps if trace.duration_s > 0 else None,
        resolution_s=trace.resolution_s,
        gaps=gaps(trace),
        scales=scales(trace),
        autocorrelation=autocorrelation(trace),
        tokens={
            name: _tokens(column)
            for name, column in columns.items()
            if column is not None and len(column)
        },
    )


def _tokens(column: Tokens) -> TokenStatistics:
    ordered = np.sort(column)
    total = int(ordered.sum(dtype=np.int64))
    return TokenStatistics(
        total=total,
        mean=total / len(ordered),
        min=int(ordered[0]),
        quantiles=nearest_ranks(ordered),
        max=int(ordered[-1]),
    )
