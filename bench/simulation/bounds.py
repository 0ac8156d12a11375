"""What no setting can beat: bounds on capacity and on latency for a trace and a source of times.

Notation: R workers; T(b) the least time of a batch of b from being taken to being answered, and
E(b) that of its execution alone; mu = max over b <= B of b / E(b), what one worker can serve at
most; A(s, t] the requests that arrive after s and by t.

A worker executes one batch at a time; what is around an execution may overlap with the one before,
with two batches in flight. A batch that holds a request which arrived after s is executed after s.
So of the requests that arrived in (s, t], at most R h(t - s) are answered by t, where h(x) is the
most that one worker can answer in batches that begin and end within x seconds: 0 for x < T(1), and
at most mu x.

*Mean, any policy.* The number of unanswered requests at t is therefore at least

    U(t) = max over s <= t of (A(s, t] - R h(t - s))
         >= max( A(t - T(1), t],  max over s of (A(s, t] - R mu (t - s)) )

and the sum of all latencies is at least the integral of U over time, since every request counts
there from its arrival to its answer. The second term is the backlog Q(t) of a fluid that flows off
at R mu.

*In order of arrival*, as all built-in policies serve, with nothing refused. With one worker, when
request k is answered at t, all that came before it have been executed: A(s, a_k] <= mu (t - s) for
every s < a_k, a_k its arrival. So its latency is at least max(T(1), Q(a_k) / mu), Q taken just
after its arrival; this bounds every percentile. With R > 1, up to two batches that each of the
others began before may end after it, so 2 (R - 1) B requests are taken off Q.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from bench.profiling.service_times import Source
from bench.simulation.outcome import Floats
from results.statistics.ranks import nearest_rank

# Stands for no time at all, which would make the rate infinite.
_INSTANT_S = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds for one trace.

    Attributes:
        capacity_rps: no setting serves more for long.
        mean_s: the mean latency of all requests is at least this, whatever the policy.
        latency_s: in order of arrival, request by request, `[N]`, ascending.
    """

    capacity_rps: float
    mean_s: float
    latency_s: Floats

    def percentile_s(self, share: float) -> float:
        """Lower bound on a percentile (nearest rank) of policies that keep the order of arrival."""
        count = len(self.latency_s)
        if not count:
            return 0.0
        return float(self.latency_s[nearest_rank(share, count) - 1])


def bounds(
    arrival_s: Floats, source: Source, *, replicas: int = 1, max_batch_size: int | None = None
) -> Bounds:
    """Compute the bounds for requests that arrive so and must all be answered.

    Args:
        arrival_s: seconds `[N]`, non-decreasing; only these requests are judged.
        source: T; the least times that it can draw are taken.
        replicas: workers.
        max_batch_size: B; the largest that the source knows where it is not given.
    """
    largest = max_batch_size or source.max_batch_size
    sizes = range(1, largest + 1)
    one_s = min(source.least_s(size) for size in sizes)
    rate_rps = max(size / max(source.least_execute_s(size), _INSTANT_S) for size in sizes)
    total_rps = replicas * rate_rps
    count = len(arrival_s)
    if not count:
        return Bounds(total_rps, 0.0, np.empty(0))
    backlog = fluid_backlog(arrival_s, total_rps)
    slack = 2 * (replicas - 1) * largest
    in_order_s = np.maximum(one_s, (backlog - slack) / total_rps)
    mean_s = _unanswered_integral(arrival_s, backlog, one_s, total_rps) / count
    return Bounds(total_rps, max(mean_s, one_s), np.sort(in_order_s))


def fluid_backlog(arrival_s: Floats, rate_rps: float) -> Floats:
    """Requests in a fluid queue just after each arrival, that one included, `[N]`.

    Q_k = 1 + max(0, Q_{k-1} - rate (a_k - a_{k-1})), solved as a reflected sum (Lindley): with
    X_k = k - rate a_k, Q_k = 1 + X_k - min over j <= k of X_j.
    """
    level = np.arange(len(arrival_s)) - rate_rps * arrival_s
    return 1.0 + level - np.minimum.accumulate(level)


def _unanswered_integral(
    arrival_s: Floats, backlog: Floats, one_s: float, rate_rps: float
) -> float:
    """The integral of max(A(t - T(1), t], Q(t)) over all time.

    Both terms change at arrivals; the first also at arrivals + T(1), and between those moments it
    is constant while Q falls in a straight line, to 0 at the least.
    """
    moments_s = np.sort(np.concatenate((arrival_s, arrival_s + one_s)))
    recent = np.searchsorted(arrival_s, moments_s, side="right") - np.searchsorted(
        arrival_s + one_s, moments_s, side="right"
    )
    latest = np.searchsorted(arrival_s, moments_s, side="right") - 1
    fluid = np.maximum(0.0, backlog[latest] - rate_rps * (moments_s - arrival_s[latest]))
    lasts_s = np.diff(moments_s, append=inf)
    # How long Q stays above what came lately; from then on that alone counts.
    above_s = np.minimum(np.maximum(0.0, (fluid - recent) / rate_rps), lasts_s)
    lasts_s[-1] = above_s[-1]  # after the last moment only the fluid is left
    extra = (fluid - recent) * above_s - 0.5 * rate_rps * above_s**2
    return float((recent * lasts_s + np.maximum(0.0, extra)).sum())
