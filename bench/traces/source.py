"""The trace that a command looks at, and where what it writes about it goes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from bench.settings import ReplaySettings
    from workloads import DescribedTrace, ListedTrace, Reading, ResolvedTrace


def reading_options(given: Mapping[str, Any]) -> "Reading":
    """How a trace file is to be read, from the options of that name among those given."""
    from bench.settings import READING
    from workloads import Reading

    told = {name: given[name] for name in READING if given[name] is not None}
    told["where"] = tuple(told.get("where", ()))
    if "trace_format" in told:
        told["format"] = told.pop("trace_format")
    if "columns" in told:
        told["columns"] = tuple(name.strip() for name in told["columns"].split(","))
    return Reading(**told)


def replay_reading(replay: "ReplaySettings") -> "Reading":
    """How the trace of these settings is to be read."""
    return reading_options(dict(replay))


def load(trace: str, how: "Reading", messages: "Console") -> "DescribedTrace | ListedTrace":
    """What the file says; what there is to know of how it was read goes to `messages`.

    Raises:
        WorkloadError: The file is no trace.
    """
    import workloads

    spec = workloads.load(trace, how)
    for note in getattr(spec, "notes", ()):
        messages.print(f"{trace}: {note}", soft_wrap=True)
    return spec


def load_replayed(replay: "ReplaySettings", messages: "Console") -> "DescribedTrace | ListedTrace":
    """As `load`, of the trace that these settings name."""
    return load(replay.trace, replay_reading(replay), messages)


def tell_windows(draws: "Sequence[ResolvedTrace]", messages: "Console") -> None:
    """Say where parts of a recording are replayed whose rates are clearly not that of all of it."""
    from workloads import windows_note

    for note in windows_note(draws):
        messages.print(f"{draws[0].trace.name}: {note}", soft_wrap=True)


def load_listed(trace: str, how: "Reading", messages: "Console") -> "ListedTrace":
    """As `load`, of a file that lists arrivals.

    Raises:
        WorkloadError: The file is no trace.
        InputError: It describes a process.
    """
    from bench.errors import InputError
    from workloads import DescribedTrace

    spec = load(trace, how, messages)
    if isinstance(spec, DescribedTrace):
        raise InputError(
            f"{trace} must list its arrivals, but describes a process: draw it first "
            "(dynbatch trace make)"
        )
    return spec


def read_trace(
    trace: str,
    how: "Reading",
    messages: "Console",
    *,
    rate: float | None,
    duration: float | None,
    seed: int | None,
) -> tuple["DescribedTrace | ListedTrace", "ResolvedTrace"]:
    """What the file says, and its arrivals: drawn where the file describes a process.

    What there is to know of how the file was read goes to `messages`.

    Raises:
        WorkloadError: The file is no trace, or it cannot be drawn or cut as asked.
    """
    import workloads

    spec = load(trace, how, messages)
    return spec, workloads.resolve(spec, rate_rps=rate, duration_s=duration, seed=seed)


def folder_of(name: str) -> Path:
    """`traces/<name>`, with what no file name should have replaced by dashes."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")
    return Path("traces") / (safe[:100] or "trace")
