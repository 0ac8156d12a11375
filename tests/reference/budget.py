"""Sharing out the time that there is: plain arithmetic."""

from dataclasses import dataclass

# A step may take this much longer than it was told to before it is ended, at the cost of those
# after it; and twice as long, where the time is nobody's.
_OVERRUN = 0.1


@dataclass(frozen=True)
class Cost:
    """What a step takes, seconds.

    Attributes:
        fixed_s: starting, loading, warming up; the same however little is measured.
        work_s: measuring, as long as is useful.
        least_s: measuring, so short that it is hardly worth it.
    """

    fixed_s: float
    work_s: float
    least_s: float

    @property
    def most_s(self):
        """All of it at its longest."""
        return self.fixed_s + self.work_s


def beside(costs):
    """What steps that run at the same time take together."""
    return Cost(
        max(cost.fixed_s for cost in costs),
        max(cost.work_s for cost in costs),
        max(cost.least_s for cost in costs),
    )


@dataclass(frozen=True)
class Share:
    """What a step is given, seconds: to measure for, and until it is ended from outside."""

    work_s: float
    limit_s: float


def share(costs, left_s, *, vital=False):
    """What the first of these steps is given of the time that is left, those after it in mind.

    If all fit, each measures as long as is useful. If not, all are shortened alike, none below its
    least; then the last ones will find no time left, which is why the order is that of importance.

    Args:
        costs: of the steps that are to share the time.
        left_s: the time.
        vital: nothing after the first is of use without it: it may take twice as long as planned.

    Returns:
        Its share, or None where not even its least would fit.
    """
    first = costs[0]
    if left_s < first.fixed_s + first.least_s:
        return None
    to_measure_s = left_s - sum(cost.fixed_s for cost in costs)
    wanted_s = sum(cost.work_s for cost in costs)
    scale = min(1.0, max(0.0, to_measure_s / wanted_s)) if wanted_s else 1.0
    work_s = max(first.least_s, scale * first.work_s)
    planned_s = first.fixed_s + work_s
    nobodys_s = max(0.0, to_measure_s - wanted_s)
    free_s = planned_s if vital else min(nobodys_s, planned_s)
    overrun_s = max(_OVERRUN * planned_s, free_s)
    return Share(work_s, min(left_s, planned_s + overrun_s))
