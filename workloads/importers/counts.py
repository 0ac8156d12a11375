"""Counts of requests in steps of time, and the arrivals that are rebuilt from them.

How many requests came in a step is known, not when: they are placed uniformly at random.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceFileError
from workloads.importers.contract import Findings

_NS = 10**9
SEED = 0
# More would not fit into memory; a gauge or a counter of bytes gets here at once.
MOST_REQUESTS = 200_000_000
# Clocks of monitors run late, and months differ: by this share of a step it may be off.
_JITTER = 0.1


class Counts:
    """Rows with a time and how many requests came in the step that it begins, or ends.

    Args:
        name: The column of the counts.
        at_end: Whether a time is that of the step's end.
    """

    def __init__(self, name: str, *, at_end: bool = False) -> None:
        self._name = name
        self._at_end = at_end
        self._time_ns: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []

    def add(self, time_ns: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Take some rows more, in any order; several may be of one step."""
        self._time_ns.append(time_ns)
        self._counts.append(counts)

    def spread(self, findings: Findings) -> NDArray[np.int64]:
        """The arrivals, in order; the window is from the first step's start to the last's end.

        Raises:
            TraceFileError: There is one time only, so that no step is known, or too many requests.
        """
        rows = sum(len(part) for part in self._time_ns)
        if not rows:
            return np.empty(0, np.int64)
        starts, group = np.unique(np.concatenate(self._time_ns), return_inverse=True)
        totals = np.zeros(len(starts), np.int64)
        np.add.at(totals, group, np.concatenate(self._counts))
        if len(starts) < 2:
            raise TraceFileError(
                f"{self._name} must count the requests of steps, but all rows are of one time: how "
                "long the step is they do not say"
            )
        gaps = np.diff(starts)
        usual = int(np.sort(gaps)[len(gaps) // 2])
        # A step lasts as long as usual where the next is missing, and counts nothing after that.
        lengths = np.minimum(np.append(gaps, usual), usual)
        if self._at_end:
            lengths = np.minimum(np.insert(gaps, 0, usual), usual)
            starts = starts - lengths
        requests = int(totals.sum())
        steps = f"{usual / _NS:.6g} s"
        findings.entries = rows
        findings.window_ns = int(starts[0]), int(starts[-1] + lengths[-1])
        findings.note(
            f"{rows:,} rows, whose {self._name} counts {requests:,} requests in steps of {steps} "
            f"that {'end' if self._at_end else 'begin'} at its time; if each row is one request: "
            "--count-column none"
        )
        note_rebuilt(findings, steps, usual)
        return spread(
            zip(starts.tolist(), (starts + lengths).tolist(), totals.tolist(), strict=True)
        )


def spread(steps: Iterable[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Arrivals in steps of (start, end, requests), ns; each uniform in its step, all in order.

    Raises:
        TraceFileError: There are more than 200 million.
    """
    known = [(start, end, requests) for start, end, requests in steps if requests]
    total = sum(requests for *_, requests in known)
    if total > MOST_REQUESTS:
        raise TraceFileError(
            f"a counter must count at most {MOST_REQUESTS:,} requests here, but counts {total:.6g}"
        )
    if not known:
        return np.empty(0, np.int64)
    rng = np.random.default_rng(SEED)
    parts = [rng.integers(start, end, size=requests) for start, end, requests in known]
    return np.sort(np.concatenate(parts))


def note_rebuilt(findings: Findings, step: str, longest_ns: int) -> None:
    """Note what arrivals are worth that were counted in steps of so many nanoseconds at most."""
    findings.resolution_ns = longest_ns
    findings.note(
        f"arrivals are rebuilt uniformly at random within each step of {step} (seed {SEED}): "
        "bursts shorter than a step are lost"
    )


def equal_step_s(time_ns: NDArray[np.int64]) -> float | None:
    """The step in which times go on, s, or None if they come as requests do.

    That is so from three different times and a step of one second on, if the others are whole
    multiples of the step, to 10 % of it, and at least half of them are the step itself.
    """
    distinct = np.unique(time_ns)
    gaps = distinct[1:] - distinct[:-1]
    if len(gaps) < 2 or gaps.min() < _NS:
        return None
    step = float(np.median(gaps))
    multiples = gaps / step
    whole = np.round(multiples)
    late = np.abs(multiples - whole) > _JITTER
    if late.any() or (whole < 1.0).any():
        return None
    return step / _NS if (whole == 1.0).mean() >= 0.5 else None
