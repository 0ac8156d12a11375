"""Where the time of each request went."""

import numpy as np
import pandas as pd

from results.arrays import BoolArray, FloatArray
from results.run.intervals import Coverage, all_covered, by_worker
from results.run.logs import floats

PARTS = ("slip", "forming", "queued", "collate", "staged", "execute", "deliver", "retry")


def breakdown(requests: pd.DataFrame, batches: pd.DataFrame, replicas: int) -> pd.DataFrame:
    """Return the parts of every request's time in the system, seconds, one row a request.

    The parts sum to ended - scheduled in every row, whatever its status:

    - slip: scheduled -> enqueued;
    - forming, queued: enqueued -> taken, while a worker was free / while all of them were busy
      (a worker is busy from when it takes a batch until it is freed of it, and may hold two);
    - collate: taken -> staged;
    - staged: staged -> started;
    - execute: started -> completed;
    - deliver: completed -> ended;
    - retry: first_failed -> taken, zero for a request that was never retried.

    A row that is not ok is cut at its ending: what it did not reach takes no time, and the time up
    to the ending belongs to the stage it was in. A request refused on arrival has slip only.

    Of a retried request the request log keeps the last attempt. Its first attempt, from taken to
    first_failed, counts as execute; when that was taken is looked up in the batch log (the last
    batch to fail by then that was taken after the request came) and, if no batch fits, everything
    from enqueued to first_failed counts as forming or queued. Attempts between the first and the
    last belong to retry.

    Args:
        requests: The request log, `[N]` rows.
        batches: The batch log.
        replicas: How many workers there are, whether or not each of them ever took a batch.

    Returns:
        Float64 columns `PARTS`, on the index of `requests`; NaN where a request never ended.
    """
    ended = floats(requests, "ended_s")
    scheduled = floats(requests, "scheduled_s")
    stages = _stages(requests, batches, ended)
    busy = _all_busy(batches, replicas, ended)

    slip = stages[0] - scheduled
    waited, first_attempt, retry, collate, staged, execute = np.diff(stages, axis=0)
    queued = np.clip(busy.before(stages[1]) - busy.before(stages[0]), 0.0, waited)
    return pd.DataFrame(
        {
            "slip": slip,
            "forming": waited - queued,
            "queued": queued,
            "collate": collate,
            "staged": staged,
            "execute": first_attempt + execute,
            "deliver": ended - stages[-1],
            "retry": retry,
        },
        index=requests.index,
    )


def _stages(requests: pd.DataFrame, batches: pd.DataFrame, ended: FloatArray) -> FloatArray:
    """Return when each request left slip, wait, first attempt, retry, collate, staged, execute.

    `[7, N]`, none before the one above it and none after the request's ending.
    """
    taken = floats(requests, "taken_s")
    failed = floats(requests, "first_failed_s")
    retried = np.isfinite(failed)
    taken_again = retried & (taken > failed)
    only_first = retried & ~taken_again

    first_taken = np.where(taken_again, _first_taken(requests, batches, taken_again), taken)
    first_taken = np.where(retried & np.isnan(first_taken), failed, first_taken)
    last_taken = np.where(only_first, ended, taken)
    rows = [
        floats(requests, "enqueued_s"),
        first_taken,
        np.where(retried, failed, first_taken),
        np.where(retried, last_taken, first_taken),
        *(
            np.where(only_first, ended, floats(requests, name))
            for name in ("staged_s", "started_s", "completed_s")
        ),
    ]
    stages = np.stack(rows)
    following = ended
    for stage in stages[::-1]:
        stage[:] = np.minimum(np.where(np.isnan(stage), following, stage), ended)
        following = stage
    return np.maximum.accumulate(stages, axis=0)


def _first_taken(requests: pd.DataFrame, batches: pd.DataFrame, wanted: BoolArray) -> FloatArray:
    """Return when the first attempt of the wanted requests was taken, NaN if no batch fits."""
    found = np.full(len(requests), np.nan)
    failures = batches[~batches["ok"].to_numpy(dtype=np.bool_)]
    if len(failures) == 0 or not wanted.any():
        return found
    over = floats(failures, "completed_s")
    over = np.where(np.isnan(over), floats(failures, "freed_s"), over)
    order = np.argsort(over, kind="stable")
    taken, over = floats(failures, "taken_s")[order], over[order]

    failed = floats(requests, "first_failed_s")[wanted]
    last = np.searchsorted(over, failed, side="right") - 1
    candidate = np.where(last >= 0, taken[last], np.nan)
    came_before = candidate >= floats(requests, "enqueued_s")[wanted]
    found[wanted] = np.where(came_before, candidate, np.nan)
    return found


def _all_busy(batches: pd.DataFrame, replicas: int, ended: FloatArray) -> Coverage:
    """Return the coverage of the times at which no worker was free."""
    freed = floats(batches, "freed_s")
    # A batch that was never let go of keeps its worker busy for as long as anything was logged.
    last = max(
        (float(np.nanmax(times)) for times in (ended, freed) if np.isfinite(times).any()),
        default=0.0,
    )
    freed = np.where(np.isnan(freed), np.maximum(last, floats(batches, "taken_s")), freed)
    return all_covered(by_worker(batches, "taken_s", freed), replicas)
