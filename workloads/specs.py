"""What a trace file holds: arrivals still to be drawn, or arrivals written down."""

from dataclasses import dataclass

import numpy as np
from pydantic import InstanceOf, StrictFloat, StrictInt, StrictStr

from workloads.checks import positive
from workloads.errors import TraceError
from workloads.processes import ArrivalProcess, as_json
from workloads.trace import Trace, check_seed


@dataclass(frozen=True, kw_only=True)
class DescribedTrace:
    """Arrivals still to be drawn; with another seed, the same workload on another day.

    The file has the parameters of the process beside the other fields:
    `{"process": "gamma", "cv": 2.0, "rate_rps": 100, "duration_s": 60, "seed": 7}`.

    Attributes:
        process: What shapes the arrivals.
        duration_s: Length in seconds, where the caller asks for no other.
        seed: Seed of the draw (>= 0), where the caller asks for no other.
        rate_rps: Mean rate in requests per second, or None where `utilization` gives the load.
        utilization: Mean rate / the highest rate the system under test can serve, or None.
            Above 1 is overload.
        name: What to call the trace; the kind of the process where a file names none.

    Raises:
        TraceError: A number out of range, or not exactly one of rate_rps and utilization.
    """

    process: InstanceOf[ArrivalProcess]
    duration_s: StrictFloat
    seed: StrictInt
    rate_rps: StrictFloat | None = None
    utilization: StrictFloat | None = None
    name: StrictStr = ""

    def __post_init__(self) -> None:
        positive("duration_s", self.duration_s, TraceError)
        check_seed(self.seed)
        loads = {"rate_rps": self.rate_rps, "utilization": self.utilization}
        given = {name: value for name, value in loads.items() if value is not None}
        if len(given) != 1:
            came = "both" if given else "neither"
            raise TraceError(
                f"exactly one of rate_rps and utilization must be given, but got {came}"
            )
        for name, value in given.items():
            positive(name, value, TraceError)

    @property
    def label(self) -> str:
        """`name`, or the kind of the process where there is none."""
        return self.name or self.process.kind

    def draw(self, rate_rps: float, duration_s: float, seed: int) -> Trace:
        """One draw of the process; equal arguments give equal arrivals.

        Raises:
            WorkloadError: An argument out of range.
        """
        check_seed(seed)
        rng = np.random.default_rng(seed)
        return Trace(
            arrival_s=self.process.arrivals(rate_rps, duration_s, rng),
            duration_s=duration_s,
            name=self.label,
            source={
                "kind": "process",
                "process": as_json(self.process),
                "rate_rps": rate_rps,
                "duration_s": duration_s,
                "seed": seed,
            },
        )


@dataclass(frozen=True)
class ListedTrace:
    """Arrivals written down one by one: a recording, or a draw that was saved.

    Attributes:
        trace: The requests, at least one.
        format: The format of the file they were read from.
        notes: What a reader of the file should know of how it was read, a sentence each: lines
            that were skipped, arrivals that had to be rebuilt.

    Raises:
        TraceError: No requests.
    """

    trace: Trace
    format: str = "dynbatch-json"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.trace):
            raise TraceError("a recording must have at least one arrival, but has none")
