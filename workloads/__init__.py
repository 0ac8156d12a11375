"""What arrives: arrival processes, recorded traces, their files, and how a command plays them."""

from workloads.asgi import RecordingMiddleware
from workloads.described import save_described
from workloads.errors import ProcessError, TraceError, TraceFileError, WorkloadError
from workloads.files import builtin_names, check_writable, load, save
from workloads.importers import IMPORTERS, Importer, Reading
from workloads.operations import (
    Window,
    WindowRule,
    concatenated,
    contrasted,
    merged,
    pick_windows,
    rate_method,
    superposed,
    to_rate,
    window_at,
    without_tokens,
)
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
from workloads.resolve import resolve, resolve_draws
from workloads.resolved import ResolvedTrace, windows_note
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace

__all__ = [
    "IMPORTERS",
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "CountDispersion",
    "DescribedTrace",
    "Diurnal",
    "Gamma",
    "Hawkes",
    "Importer",
    "ListedTrace",
    "Mmpp",
    "OnOff",
    "Pareto",
    "Part",
    "Piecewise",
    "Poisson",
    "ProcessError",
    "Ramp",
    "Reading",
    "RecordingMiddleware",
    "ResolvedTrace",
    "Spike",
    "Superposition",
    "Trace",
    "TraceError",
    "TraceFileError",
    "TraceRecorder",
    "Weibull",
    "Window",
    "WindowRule",
    "WorkloadError",
    "builtin_names",
    "check_writable",
    "concatenated",
    "contrasted",
    "load",
    "merged",
    "pick_windows",
    "rate_method",
    "resolve",
    "resolve_draws",
    "save",
    "save_described",
    "superposed",
    "to_rate",
    "window_at",
    "windows_note",
    "without_tokens",
]
