"""When the devices executed batches: the intervals behind every busy fraction."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.run.intervals import Coverage, coverage
from results.run.logs import FloatArray, floats


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
