"""What a trace is like: its rate over time, its gaps, how its counts vary, its token counts."""

from workloads.statistics.autocorrelation import Autocorrelation, autocorrelation
from workloads.statistics.counts import Scale, at_span, scales
from workloads.statistics.description import TokenStatistics, TraceStatistics, describe
from workloads.statistics.gaps import Gaps, gaps, survival
from workloads.statistics.profile import RateProfile, rate_profile, zooms

__all__ = [
    "Autocorrelation",
    "Gaps",
    "RateProfile",
    "Scale",
    "TokenStatistics",
    "TraceStatistics",
    "at_span",
    "autocorrelation",
    "describe",
    "gaps",
    "rate_profile",
    "scales",
    "survival",
    "zooms",
]
