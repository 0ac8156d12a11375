"""Whether a share of requests is within what is allowed, from one run of a queue.

The raw rule of LoadGen takes requests for independent. Those of a queue are not, and a run that
happens to miss a burst or a slow phase has neither requests over the limit nor any variance to
tell of them. So a run has to show more than a small share over the limit, in one of three ways.
`docs/verdicts.md` has the simulations that the constants were chosen by, and what failed.
"""

from dataclasses import dataclass

import numpy as np

from results.arrays import BoolArray, FloatArray
from results.statistics.correlated import discount, effective_number
from results.statistics.shares import share_lower, share_upper

GUARD_S = 0.5
"""A disturbance that lasts this long, with every request in it over the limit, must not go unseen:
a run of T seconds counts as T / GUARD_S independent requests at most."""

SPARE = 2.0
"""A limit that holds with this factor to spare is believed of a run that is shorter than that."""

TAIL = 6.0
"""How many times the allowed share may be over the limit / SPARE where the tail has to vouch."""

_COMPANION = 5.0
_COMPANION_MOST = 0.5


@dataclass(frozen=True, slots=True)
class TailEvidence:
    """What a run says about the share of requests over a limit.

    Numbers of requests are effective ones, discounted for the error of their own estimate.

    Args:
        allowed: The share that may be over, 0 to 1.
        share: The share that was.
        worth: Effective number from the variance of {over the limit}.
        companion: The same from {over the run's own p95}, or another percentile where the limit is
            on one: what tells of bursts before any of them reaches the limit.
        longest: The run's length / GUARD_S; infinite where time is not known.
        half_share, half_worth: Share and effective number over limit / SPARE; None for what has no
            scale, such as a share rejected.
    """

    allowed: float
    share: float
    worth: float
    companion: float
    longest: float
    half_share: float | None = None
    half_worth: float = 0.0

    @property
    def effective(self) -> float:
        """How many independent requests the run counts for, near the limit."""
        return min(self.worth, self.companion, self.longest)

    def met(self, alpha: float, scale: float = 1.0) -> bool:
        """Return whether the share is within what is allowed, with an error of at most `alpha`.

        U(s, N) being the upper bound of `share_upper` on a share s seen in N requests, any of

        - direct: U(share, min(worth, companion, longest)) <= allowed;
        - to spare: U(half_share, min(half_worth, companion)) <= allowed;
        - tail: U(half_share, min(half_worth, companion)) <= TAIL * allowed and
          U(share, min(worth, longest)) <= allowed. With a tail that falls off exponentially, a
          share h over half the limit means h^2 over the limit.

        Args:
            alpha: One-sided error.
            scale: As if the run had been that many times as long, and otherwise alike.
        """

        def within(share: float, number: float, allowed: float) -> bool:
            return share_upper(share, number * scale, alpha) <= allowed

        if within(self.share, self.effective, self.allowed):
            return True
        if self.half_share is None:
            return False
        number = min(self.half_worth, self.companion)
        if within(self.half_share, number, self.allowed):
            return True
        return within(self.half_share, number, min(0.5, TAIL * self.allowed)) and within(
            self.share, min(self.worth, self.longest), self.allowed
        )

    def missed(self, alpha: float, scale: float = 1.0) -> bool:
        """Return whether the share is more than is allowed, with an error of at most `alpha`.

        The lower bound on the share, from min(worth, companion) requests, is above `allowed`.
        """
        number = min(self.worth, self.companion) * scale
        return share_lower(self.share, number, alpha) > self.allowed


def worth_of(occurred: BoolArray) -> float:
    """Return the discounted effective number of yes-or-no values in the order of time."""
    return discount() * effective_number(occurred)


def companion_of(values: FloatArray, allowed: float) -> BoolArray:
    """Return which values are above the run's own percentile of five times the allowed share.

    {over p95} where 1 % is allowed; never below the median.
    """
    if len(values) == 0:
        return np.zeros(0, dtype=np.bool_)
    level = 1.0 - min(_COMPANION_MOST, _COMPANION * allowed)
    rank = int(level * len(values))
    own = np.partition(values, rank)[rank]
    # Where more than that share has no answer, having none is the event.
    return np.asarray(values > own if np.isfinite(own) else ~np.isfinite(values), dtype=np.bool_)


def evidence_of(
    past: BoolArray,
    companion: BoolArray,
    allowed: float,
    window_s: float,
    half: BoolArray | None = None,
) -> TailEvidence:
    """Return what a run says, from who was over what, bool `[N]` in the order of time.

    Args:
        past: Over the limit.
        companion: Over the run's own percentile; see `companion_of`.
        allowed: The share that may be over the limit.
        window_s: How long the arrivals took, seconds.
        half: Over the limit / SPARE; None for what has no scale.
    """
    return TailEvidence(
        allowed=allowed,
        share=float(past.mean()) if len(past) else 0.0,
        worth=worth_of(past),
        companion=worth_of(companion),
        longest=window_s / GUARD_S,
        half_share=None if half is None else float(half.mean()) if len(half) else 0.0,
        half_worth=0.0 if half is None else worth_of(half),
    )
