"""AIMD: grow the batch while its execution leaves the SLO room, shrink it when it does not."""

from dataclasses import replace

from batching.policies.contract import Decision, FinishedBatch, Waiting
from batching.policies.learned import Executions
from batching.policies.options import PolicyOptions
from batching.policies.timeout import TimeoutPolicy

_STEP = 1
_BACKOFF = 0.9
# Share of the SLO that a batch may take to execute; the rest is for holding requests.
_SHARE = 0.75


class AdaptivePolicy:
    """The timeout rule under a limit that is found by additive increase, multiplicative decrease.

    After each batch, with its execution time x, the time w that its oldest request had waited
    when it was taken, and the SLO S, in seconds, B = 3/4 S:

        x > B and w <= B       limit = max(1, 0.9 * limit)
        else if it was full    limit = min(max_batch_size, max(limit + 1, its size))

    It is the *execution* that is judged, not the request's latency, of which a backlog makes up
    most: smaller batches serve fewer requests a second, so to answer a backlog with them would
    lengthen it, down to batches of one. For the same reason a batch is not judged at all if its
    oldest request had waited so long that it was late already: what is lacking then is capacity,
    which larger batches have. So a limit that is too small for the load, or an SLO that no limit
    can keep, ends in large batches, not in an endless queue.

    What B leaves of the SLO is the longest that a request is held while a worker is free,
    whatever `batch_timeout_s` says. Only a full batch raises the limit: smaller ones say nothing
    about larger ones. A warm-up that ran the largest size in time sets the limit to it; without
    one it grows from 1.

    After Clipper (Crankshaw et al., NSDI 2017, section 4.3.1), which judges the execution too,
    against the whole SLO.

    Args:
        options: all are used; `slo_s` is needed.

    Raises:
        ConfigError: there is no SLO.
    """

    def __init__(self, options: PolicyOptions) -> None:
        slo_s = options.needed_slo_s("adaptive")
        self._budget_s = _SHARE * slo_s
        timeout_s = min(options.batch_timeout_s, slo_s - self._budget_s)
        self._rule = TimeoutPolicy(
            replace(
                options, batch_timeout_s=timeout_s, min_wait_s=min(options.min_wait_s, timeout_s)
            )
        )
        self._most = options.max_batch_size
        self._exact_limit = 1.0
        self._rule.limit = 1
        self._executions = Executions()

    @property
    def limit(self) -> int:
        """Most requests in a batch, as of now."""
        return self._rule.limit

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """What the timeout policy says under the present limit."""
        return self._rule.decide(now_s, waiting)

    def observe(self, batch: FinishedBatch) -> None:
        """Move the limit; a batch that failed says nothing."""
        execution_s = self._executions.seconds(batch)
        if execution_s is None:
            return
        waited_s = batch.taken_s - batch.oldest_s
        if execution_s > self._budget_s and waited_s <= self._budget_s:
            self._exact_limit = max(1.0, self._exact_limit * _BACKOFF)
        elif batch.size >= self._rule.limit:
            grown = max(self._exact_limit + _STEP, batch.size)
            self._exact_limit = min(float(self._most), grown)
        self._rule.limit = int(self._exact_limit)
