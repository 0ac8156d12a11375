"""The host: its cores, who else uses them, and how well it keeps time."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from batching import RealClock
from batching.execution.devices import usable_cores
from bench.live.stalls import StallWatch
from results.statistics.ranks import nearest_rank

# A worker's wait for more requests, as the default batch timeout and shorter ones have it.
_WAIT_S = 0.002
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Spread:
    """How late something was, seconds."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values_s: Iterable[float]) -> "Spread":
        """The spread of at least one value; percentiles by nearest rank."""
        ordered = sorted(values_s)
        p50, p99 = (ordered[nearest_rank(share, len(ordered)) - 1] for share in (0.5, 0.99))
        return cls(p50, p99, ordered[-1])


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen of the host for a while.

    Attributes:
        cores: that this process may run on.
        quota_cores: how much CPU time a second its control group may use; None without a limit.
        memory_bytes, available_bytes: of the machine.
        watched_s: for how long.
        resolution_s: the smallest step of the clock that everything is measured by.
        timer_s: how much later a thread's timed wait ended than asked for.
        stall_s: how much later an idle process was woken than it asked for.
        others_cores: CPU time a second that other programs took on these cores.
        stolen_share: the share of these cores' time that a hypervisor gave to others.
    """

    cores: int
    quota_cores: float | None
    memory_bytes: int
    available_bytes: int
    watched_s: float
    resolution_s: float
    timer_s: Spread
    stall_s: Spread
    others_cores: float
    stolen_share: float


def watch_machine(duration_s: float = 2.0) -> Machine:
    """Watch the machine for a while from an idle process and a thread that waits by the clock."""
    clock = RealClock()
    before, began_s, own_s = _cpu_times(), clock.now(), _own_cpu_s()
    with StallWatch() as stalls:
        late_s = _timer_lateness(clock, began_s + duration_s)
        late = stalls.stop(began_s)
    elapsed_s, own_s = clock.now() - began_s, _own_cpu_s() - own_s
    busy_s, stolen_s = (
        after - earlier for after, earlier in zip(_cpu_times(), before, strict=True)
    )
    cores, memory = usable_cores(), psutil.virtual_memory()
    return Machine(
        cores=cores,
        quota_cores=cpu_quota(),
        memory_bytes=memory.total,
        available_bytes=memory.available,
        watched_s=elapsed_s,
        resolution_s=time.get_clock_info("perf_counter").resolution,
        timer_s=Spread.of(late_s),
        stall_s=Spread.of(late["late_s"]) if len(late) else Spread(0.0, 0.0, 0.0),
        others_cores=max(0.0, (busy_s - own_s) / elapsed_s),
        stolen_share=max(0.0, stolen_s / (elapsed_s * cores)),
    )


def _timer_lateness(clock: RealClock, until_s: float) -> list[float]:
    """How late a thread comes back that waits as a worker does, again and again."""
    late_s: list[float] = []

    def wait() -> None:
        waiter = clock.waiter()
        while not late_s or clock.now() < until_s:
            due_s = clock.now() + _WAIT_S
            waiter.wait(due_s)
            late_s.append(clock.now() - due_s)

    clock.join(clock.spawn(wait, name="dynbatch-doctor"))
    return late_s


def _cpu_times() -> tuple[float, float]:
    """Seconds of work, and seconds taken by a hypervisor, on the cores of this process."""
    each = psutil.cpu_times(percpu=True)
    if hasattr(os, "sched_getaffinity"):
        each = [times for i, times in enumerate(each) if i in os.sched_getaffinity(0)]
    work = sum(
        t.user + t.system + getattr(t, "irq", 0.0) + getattr(t, "softirq", 0.0) for t in each
    )
    return work, sum(getattr(t, "steal", 0.0) for t in each)


def _own_cpu_s() -> float:
    """CPU time of this process and of those it has waited for."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_quota(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The smallest CPU limit of this process's control group and those above it, in cores.

    Args:
        root: where control groups (version 2) are mounted.
        membership: the file that names the group of this process.

    Returns:
        None where there is no limit, or no control groups of version 2.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    group = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root / group.strip("/")
    limits = [
        limit
        for place in (folder, *folder.parents)
        if place == root or root in place.parents
        if (limit := _limit(place / "cpu.max")) is not None
    ]
    return min(limits, default=None)


def _limit(path: Path) -> float | None:
    try:
        quota, period = path.read_text(encoding="utf-8").split()
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        return None
