"""The same requests at the same mean rate, closer together where they were close, or more evenly.

With g_0 .. g_N the stretches of time that N arrivals cut the span S into (from the start to the
first, between neighbours, from the last to the end), the result has

    g'_i = S g_i^c / (g_0^c + ... + g_N^c)

so that the number of requests, their order and the span stay. The ratio of two gaps is raised to
the power c: a burst in which requests come k times as fast as in a calm has them k^c times as fast.
c = 0 spaces them evenly, c = 1 changes nothing, c > 1 makes bursts denser and lulls longer. Of a
Poisson process c makes a renewal process of Weibull gaps, shape 1 / c, with
CV^2 = Gamma(1 + 2 c) / Gamma(1 + c)^2 - 1; evenly spaced arrivals stay so, and simultaneous ones
simultaneous.
"""

import numpy as np

from workloads.checks import within
from workloads.errors import TraceError
from workloads.trace import Times, Trace

MOST_CONTRAST = 10.0


def contrasted(trace: Trace, contrast: float) -> Trace:
    """The trace with its gaps to the power `contrast`; see the docstring of the module.

    Args:
        trace: Any that spans some time.
        contrast: c, 0 to 10.

    Raises:
        TraceError: A contrast out of its range, or a trace that spans no time.
    """
    within("contrast", contrast, 0.0, MOST_CONTRAST, TraceError)
    if not trace.duration_s > 0:
        raise TraceError(f"{trace.name} must span some time to be contrasted, but spans 0 s")
    if contrast == 1 or not len(trace):
        return trace
    return trace.taking(
        slice(None),
        contrasted_times(trace.arrival_s, trace.duration_s, contrast),
        trace.duration_s,
        trace.source_after("contrast", contrast=contrast),
    )


def contrasted_times(arrival_s: Times, span_s: float, contrast: float) -> Times:
    """`arrival_s` within [0, span_s], float64 `[N]`, with its gaps to the power `contrast`."""
    gaps_s = np.diff(arrival_s, prepend=0.0, append=span_s)
    # In units of the mean, or a high power of many short gaps would be 0 all together.
    powers = (gaps_s / gaps_s.mean()) ** contrast
    if contrast == 0.0:
        powers = np.ones_like(gaps_s)
    sums = np.cumsum(powers)
    # The last sum is the span; rounding must not carry an arrival past it.
    times_s: Times = np.minimum(sums[:-1] * (span_s / sums[-1]), span_s)
    return times_s
