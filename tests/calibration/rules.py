"""The rules that were tried for a verdict on p99: +1 met, -1 missed, 0 undecided.

LoadGen's takes requests for independent; "effective N" puts the number of `effective_number` of
{over the limit} in their place; the third takes 0.53 x the smaller of that and of the same number
for {over the run's own p95}.
"""

import numpy as np

from results.statistics.correlated import discount, effective_number
from results.statistics.shares import share_lower, share_upper
from results.statistics.tail import SPARE, companion_of, evidence_of

ALLOWED = 0.01


def decide(share, number, alpha):
    if share_upper(share, number, alpha) <= ALLOWED:
        return 1
    return -1 if share_lower(share, number, alpha) > ALLOWED else 0


def all_rules(latency_s, limit_s, window_s, alpha=0.01):
    past = latency_s > limit_s
    share, number = float(past.mean()), effective_number(past)
    companion = companion_of(latency_s, ALLOWED)
    calm = effective_number(companion)
    evidence = evidence_of(past, companion, ALLOWED, window_s, latency_s > limit_s / SPARE)
    ours = -1 if evidence.missed(alpha) else 1 if evidence.met(alpha) else 0
    return {
        "LoadGen's": decide(share, float(len(past)), alpha),
        "effective N": decide(share, number, alpha),
        "0.53 x with {over p95}": decide(share, discount() * min(number, calm), alpha),
        "ours": ours,
    }


def ours(latency_s, limit_s, window_s, alpha):
    companion = companion_of(latency_s, ALLOWED)
    half = latency_s > limit_s / SPARE
    evidence = evidence_of(latency_s > limit_s, companion, ALLOWED, window_s, half)
    return -1 if evidence.missed(alpha) else 1 if evidence.met(alpha) else 0


def true_p99(queue, runs=100, window_s=600.0):
    """From runs that no rule sees; every 5th latency is enough for a percentile."""
    drawn = [queue.run(window_s, 10**7 + seed)[1][::5] for seed in range(runs)]
    return float(np.quantile(np.concatenate(drawn), 0.99))
