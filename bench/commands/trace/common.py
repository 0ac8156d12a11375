"""What the subcommands that make traces from traces share."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from workloads import Trace


def read_listed(path: str, messages: "Console") -> "Trace":
    """The arrivals that a trace file lists; what there is to say of how they were read is said.

    Raises:
        TraceFileError: No trace.
        InputError: A trace that describes a process.
    """
    from bench.errors import InputError
    from workloads import DescribedTrace, load

    spec = load(path)
    if isinstance(spec, DescribedTrace):
        raise InputError(
            f"{path} must list its arrivals, but describes a process: draw it first "
            "(dynbatch trace make)"
        )
    for note in spec.notes:
        messages.print(f"{path}: {note}", soft_wrap=True, markup=False)
    return spec.trace


def write(trace: "Trace", out: Path, *notes: str) -> "Trace":
    """Save the trace under the name of its file, and return it so named.

    The notes say how it came about, behind what its file said already; whoever plays it is told.

    Raises:
        TraceFileError: It cannot be saved there.
    """
    from workloads import save

    name = os.fsencode(out.name).decode("utf-8", "replace").split(".")[0]
    source = {**trace.source, "notes": [*trace.source.get("notes", ()), *notes]}
    named = replace(trace, name=name or trace.name, source=source)
    save(named, out)
    return named


def outline(trace: "Trace") -> str:
    """How many requests, for how long, how fast."""
    from results import format as fmt

    requests = "1 request" if len(trace) == 1 else f"{fmt.count(len(trace))} requests"
    return f"{requests} in {trace.duration_s:,.6g} s, {fmt.rate(trace.rate_rps)}"
