"""What the subcommands that make traces from traces share."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads import Trace


def write(trace: "Trace", out: Path, *notes: str) -> "Trace":
    """Save the trace under the name of its file, and return it so named.

    The notes say how it came about, behind what its file said already; whoever plays it is told.

    Raises:
        TraceFileError: It cannot be saved there.
    """
    from bench.streams import kept_in
    from workloads import save

    name = os.fsencode(out.name).decode("utf-8", "replace").split(".")[0]
    source = {**trace.source, "notes": [*trace.source.get("notes", ()), *notes]}
    named = replace(trace, name=name or trace.name, source=source)
    save(named, out)
    kept_in(out)
    return named


def outline(trace: "Trace") -> str:
    """How many requests, for how long, how fast."""
    from results import format as fmt

    requests = "1 request" if len(trace) == 1 else f"{fmt.count(len(trace))} requests"
    return f"{requests} in {trace.duration_s:,.6g} s, {fmt.rate(trace.rate_rps)}"
