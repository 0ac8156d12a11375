"""What arrives: arrival processes, recorded traces, their files, and how a command plays them."""

from workloads.asgi import RecordingMiddleware
from workloads.errors import ProcessError, TraceError, TraceFileError, WorkloadError
from workloads.files import builtin_names, load, save
from workloads.operations import (
    Window,
    WindowRule,
    concatenated,
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
    Gamma,
    Mmpp,
    OnOff,
    Poisson,
)
from workloads.recorder import TraceRecorder
from workloads.resolve import ResolvedTrace, resolve, resolve_draws
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace

__all__ = [
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "DescribedTrace",
    "Gamma",
    "ListedTrace",
    "Mmpp",
    "OnOff",
    "Poisson",
    "ProcessError",
    "RecordingMiddleware",
    "ResolvedTrace",
    "Trace",
    "TraceError",
    "TraceFileError",
    "TraceRecorder",
    "Window",
    "WindowRule",
    "WorkloadError",
    "builtin_names",
    "concatenated",
    "load",
    "merged",
    "pick_windows",
    "rate_method",
    "resolve",
    "resolve_draws",
    "save",
    "superposed",
    "to_rate",
    "window_at",
    "without_tokens",
]
