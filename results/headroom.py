"""How far a run is from what no setting can beat.

The bounds are worked out with the simulation, from the arrivals and the least time of a batch of
each size; `docs/simulation.md` has the derivation. They are of requests that are all answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from results import format as fmt
from results.run.metrics import Metrics

# Key of a bound, what it is of, and which policies it binds.
_BOUNDS = (
    ("p50_s", "p50", "that keeps the order of arrival"),
    ("p99_s", "p99", "that keeps the order of arrival"),
    ("mean_s", "mean", "at all"),
)


@dataclass(frozen=True, slots=True)
class Gap:
    """One latency and the least it can be.

    Args:
        name: p50, p99 or mean.
        actual_s: What it was, seconds.
        least_s: What it is at least, seconds, > 0.
        policies: Which policies cannot beat that, e.g. "at all".
    """

    name: str
    actual_s: float
    least_s: float
    policies: str

    @property
    def times(self) -> float:
        """How many times the least it was; below 1 where batches were faster than the profile."""
        return self.actual_s / self.least_s


def gaps(bounds: Mapping[str, float] | None, metrics: Metrics) -> list[Gap]:
    """Return how far latencies are from their bounds; nothing where the bounds do not hold.

    They hold where every request was answered: who turns requests away can be faster.

    Args:
        bounds: What run.json has of them; None for a run without.
        metrics: The run's.
    """
    counts = metrics.counts
    if bounds is None or counts.ok < counts.submitted:
        return []
    found = []
    for key, name, policies in _BOUNDS:
        actual_s, least_s = getattr(metrics.latency_s, name), bounds.get(key)
        if actual_s is not None and least_s:
            found.append(Gap(name, actual_s, least_s, policies))
    return found


def sentence(found: list[Gap]) -> str:
    """Return the gaps in words: "p99 is 1.58 x 9.1 ms, the least of any policy that ..."."""
    by_policies: dict[str, list[str]] = {}
    for gap in found:
        text = f"{gap.name} is {fmt.number(gap.times)} x {fmt.duration(gap.least_s)}"
        by_policies.setdefault(gap.policies, []).append(text)
    return "; ".join(
        f"{', '.join(texts)}, the least of any policy {policies}"
        for policies, texts in by_policies.items()
    )
