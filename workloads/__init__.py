"""What arrives: arrival processes, recorded traces, their files, and how a command plays them."""

from workloads.errors import ProcessError, TraceError, TraceFileError, WorkloadError
from workloads.files import builtin_names, load, save
from workloads.processes import (
    PROCESSES,
    ArrivalProcess,
    Constant,
    Gamma,
    Mmpp,
    OnOff,
    Poisson,
)
from workloads.processes.dispersion import CountDispersion
from workloads.resolve import ResolvedTrace, resolve
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace

__all__ = [
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "CountDispersion",
    "DescribedTrace",
    "Gamma",
    "ListedTrace",
    "Mmpp",
    "OnOff",
    "Poisson",
    "ProcessError",
    "ResolvedTrace",
    "Trace",
    "TraceError",
    "TraceFileError",
    "WorkloadError",
    "builtin_names",
    "load",
    "resolve",
    "save",
]
