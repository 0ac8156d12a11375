"""What arrives: arrival processes, recorded traces, their files, and how a command plays them."""

from workloads.errors import ProcessError, TraceError, TraceFileError, WorkloadError
from workloads.files import builtin_names, check_writable, load, save
from workloads.importers import IMPORTERS, Importer, Reading
from workloads.processes import (
    PROCESSES,
    ArrivalProcess,
    Constant,
    Gamma,
    Mmpp,
    OnOff,
    Poisson,
)
from workloads.resolve import ResolvedTrace, resolve
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace

__all__ = [
    "IMPORTERS",
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "DescribedTrace",
    "Gamma",
    "Importer",
    "ListedTrace",
    "Mmpp",
    "OnOff",
    "Poisson",
    "ProcessError",
    "Reading",
    "ResolvedTrace",
    "Trace",
    "TraceError",
    "TraceFileError",
    "WorkloadError",
    "builtin_names",
    "check_writable",
    "load",
    "resolve",
    "save",
]
