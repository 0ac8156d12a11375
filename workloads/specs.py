"""What a trace file holds: arrivals still to be drawn, or arrivals written down."""

from dataclasses import dataclass

import numpy as np
from pydantic import InstanceOf, StrictBool, StrictFloat, StrictInt, StrictStr

from workloads.checks import not_negative, positive
from workloads.errors import TraceError
from workloads.matching import matched
from workloads.processes import ArrivalProcess, as_json
from workloads.trace import Times, Trace, check_seed


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
        match_load: Whether each draw is stretched in time until it holds exactly
            rate x duration requests, rounded, so that draws of different burstiness carry the
            same load; bursts get longer or shorter by the same factor.
        name: What to call the trace; the kind of the process where a file names none.

    Raises:
        TraceError: A number out of range, or not exactly one of rate_rps and utilization.
    """

    process: InstanceOf[ArrivalProcess]
    duration_s: StrictFloat
    seed: StrictInt
    rate_rps: StrictFloat | None = None
    utilization: StrictFloat | None = None
    match_load: StrictBool = False
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

    def draw(self, rate_rps: float, duration_s: float, seed: int, *, tail_s: float = 0.0) -> Trace:
        """One draw of the process; equal arguments give equal arrivals.

        The draw is duration_s + tail_s long. With `match_load` its first duration_s hold exactly
        round(rate_rps x duration_s) requests, and `source["match_factor"]` is what all times
        were multiplied by for that. The tail never changes what comes before it.

        Raises:
            WorkloadError: An argument out of range, or a load that cannot be matched.
        """
        check_seed(seed)
        positive("duration_s", duration_s, TraceError)
        not_negative("tail_s", tail_s, TraceError)
        length_s = duration_s + tail_s

        def arrivals(span_s: float) -> Times:
            return self.process.arrivals(rate_rps, span_s, np.random.default_rng(seed))

        source = {
            "kind": "process",
            "process": as_json(self.process),
            "rate_rps": rate_rps,
            "duration_s": length_s,
            "seed": seed,
        }
        if self.match_load:
            positive("rate_rps", rate_rps, TraceError)
            count = round(rate_rps * duration_s)
            arrival_s, source["match_factor"] = matched(arrivals, count, duration_s, length_s)
        else:
            arrival_s = arrivals(length_s)
        return Trace(arrival_s=arrival_s, duration_s=length_s, name=self.label, source=source)


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
