"""Measure of unions of time intervals, the arithmetic behind busy fractions and queueing."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.arrays import FloatArray
from results.run.logs import floats


@dataclass(frozen=True, slots=True)
class Coverage:
    """The measure of a union of intervals as a function of time.

    Args:
        knots_s: Times `[2K]` at which the covered time begins or ceases to grow, in order.
        covered_s: Covered time `[2K]` before each knot.
    """

    knots_s: FloatArray
    covered_s: FloatArray

    def before(self, times_s: FloatArray) -> FloatArray:
        """Return the covered time before each of these times, seconds, any shape."""
        if len(self.knots_s) == 0:
            return np.zeros_like(times_s)
        return np.interp(times_s, self.knots_s, self.covered_s)

    def between(self, start_s: float, end_s: float) -> float:
        """Return the covered time within [start_s, end_s]."""
        first, last = self.before(np.array([start_s, end_s]))
        return float(last - first)


def coverage(starts_s: FloatArray, ends_s: FloatArray) -> Coverage:
    """Return the coverage of the union of the intervals [start, end].

    Intervals with a NaN, or that end before they start, cover nothing.
    """
    proper = ends_s >= starts_s
    starts, ends = starts_s[proper], ends_s[proper]
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    if len(starts) == 0:
        return Coverage(np.empty(0), np.empty(0))
    opens = np.append(True, starts[1:] > reach[:-1])
    closes = np.append(opens[1:], True)
    return _disjoint_coverage(starts[opens], reach[closes])


def _disjoint_coverage(starts: FloatArray, ends: FloatArray) -> Coverage:
    grown = np.cumsum(ends - starts)
    knots = np.column_stack((starts, ends)).ravel()
    covered = np.column_stack((grown - (ends - starts), grown)).ravel()
    return Coverage(knots, covered)


def by_worker(batches: pd.DataFrame, start: str, end: str | FloatArray) -> list[Coverage]:
    """Return each worker's coverage by its batches' intervals, in order of the worker's index.

    Args:
        batches: The batch log.
        start: The column of the intervals' starts.
        end: The column of their ends, or the ends themselves `[batches]`.
    """
    starts = floats(batches, start)
    ends = floats(batches, end) if isinstance(end, str) else end
    workers = np.asarray(batches["worker"])
    return [coverage(starts[workers == w], ends[workers == w]) for w in np.unique(workers)]


def all_covered(parts: list[Coverage], count: int) -> Coverage:
    """Return the coverage of the times at which at least `count` of the parts cover."""
    starts = np.concatenate([part.knots_s[0::2] for part in parts] or [np.empty(0)])
    ends = np.concatenate([part.knots_s[1::2] for part in parts] or [np.empty(0)])
    times = np.concatenate((starts, ends))
    steps = np.concatenate((np.ones(len(starts)), -np.ones(len(ends))))
    order = np.argsort(times, kind="stable")
    times, covering = times[order], np.cumsum(steps[order])
    enough = covering[:-1] >= count
    return coverage(times[:-1][enough], times[1:][enough])


@dataclass(frozen=True, slots=True)
class Devices:
    """Which device each replica of a run works on.

    Args:
        of_replica: The device's name, by the replica's index; several replicas may share one.
        named: Whether these are names of real devices.
    """

    of_replica: tuple[str, ...]
    named: bool = True

    @classmethod
    def apart(cls, replicas: int) -> "Devices":
        """Return replicas that share nothing: each counts as a device of its own."""
        return cls(tuple(str(index) for index in range(replicas)), named=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Each device once, in the order of the replicas."""
        return tuple(dict.fromkeys(self.of_replica))

    def of_batches(self, batches: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
        """Return the device that each batch ran on, `[batches]`."""
        known = dict(enumerate(self.of_replica))
        workers = [known.get(int(worker), str(worker)) for worker in batches["worker"]]
        return np.array(workers, dtype=object)


def execution_ends(batches: pd.DataFrame) -> FloatArray:
    """Return when each batch's execution ended: its interval is [started, this], seconds.

    The device's own time is used if every batch that ran has one, host stamps otherwise.
    """
    device = floats(batches, "device_s")
    ran = np.asarray(batches["ok"], dtype=np.bool_)
    if ran.any() and np.isfinite(device[ran]).all():
        return floats(batches, "started_s") + device
    return floats(batches, "completed_s")


def busy(batches: pd.DataFrame, devices: Devices) -> dict[str, Coverage] | None:
    """Return by device the union of the execution intervals of all batches that ran on it.

    Batches that overlap on one device, in the slots of one replica or in several replicas, count
    once. A device that ran none is covered nowhere; None if no batch was logged at all.
    """
    if not np.isfinite(floats(batches, "started_s")).any():
        return None
    where = devices.of_batches(batches)
    found: dict[str, Coverage] = {}
    for name in dict.fromkeys((*devices.names, *where)):
        here = batches[where == name]
        found[name] = coverage(floats(here, "started_s"), execution_ends(here))
    return found


def busy_between(batches: pd.DataFrame, devices: Devices, edges_s: FloatArray) -> FloatArray | None:
    """Return the seconds of execution between each two edges, over all devices, `[edges - 1]`."""
    found = busy(batches, devices)
    if found is None:
        return None
    parts = [np.diff(device.before(edges_s)) for device in found.values()]
    return np.asarray(sum(parts, np.zeros(len(edges_s) - 1)), dtype=np.float64)
