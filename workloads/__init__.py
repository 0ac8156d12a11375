"""What arrives: arrival processes, recorded traces, their files, and how a command plays them."""

from workloads.asgi import RecordingMiddleware
from workloads.described import save_described
from workloads.errors import ProcessError, TraceError, TraceFileError, WorkloadError
from workloads.files import builtin_names, load, save
from workloads.processes import (
    PROCESSES,
    ArrivalProcess,
    Constant,
    CountDispersion,
    Diurnal,
    Gamma,
    Hawkes,
    Mmpp,
    OnOff,
    Pareto,
    Part,
    Piecewise,
    Poisson,
    Ramp,
    Spike,
    Superposition,
    Weibull,
)
from workloads.recorder import TraceRecorder
from workloads.resolve import ResolvedTrace, resolve
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace

__all__ = [
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "CountDispersion",
    "DescribedTrace",
    "Diurnal",
    "Gamma",
    "Hawkes",
    "ListedTrace",
    "Mmpp",
    "OnOff",
    "Pareto",
    "Part",
    "Piecewise",
    "Poisson",
    "ProcessError",
    "Ramp",
    "RecordingMiddleware",
    "ResolvedTrace",
    "Spike",
    "Superposition",
    "Trace",
    "TraceError",
    "TraceFileError",
    "TraceRecorder",
    "Weibull",
    "WorkloadError",
    "builtin_names",
    "load",
    "resolve",
    "save",
    "save_described",
]
