"""`dynbatch trace fit`: from one recording, a process that can be drawn again and again."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from rich.console import Console

    from workloads import Trace
    from workloads.fitting import Fit

SEED = 7  # as in the built-in traces; --seed of any command replaces it


@takes(READING)
def fit(
    trace: options.TraceFile,
    process: Annotated[
        str,
        typer.Option(
            help="poisson, gamma or mmpp; auto takes the simplest that is within noise of the "
            "trace, or else the nearest."
        ),
    ] = "auto",
    *,
    given: Given,
    rate: options.Rate = None,
    duration: options.Duration = None,
    seed: options.Seed = None,
    out: options.FittedFile = None,
    as_json: options.StatisticsAsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Fit an arrival process to a trace, and say how well it reproduces it.

    Writes a trace that describes the process, for --trace of any command, and a picture.
    """
    from bench.console import message_console, output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.folders import writable, writing
    from bench.streams import kept_in
    from bench.traces.describe_fit import shortcomings
    from bench.traces.source import folder_of, read_trace, reading_options
    from workloads import fitting, save_described

    if out is not None and out.suffix != ".json":
        raise InputError(f"out must be a file ending in .json, but got {str(out)!r}")
    _, resolved = read_trace(
        trace,
        reading_options(given),
        message_console(quiet=quiet),
        rate=rate,
        duration=duration,
        seed=seed,
    )
    recorded = resolved.trace
    out = out or folder_of(recorded.name) / "fitted.json"
    picture = out.with_suffix(".png")
    with writable(out.parent):
        found = fitting.fit(recorded, process)
        described = found.described(
            duration_s=recorded.duration_s,
            seed=SEED if seed is None else seed,
            name=f"{recorded.name} fitted",
        )
        save_described(described, out)
        kept_in(out)
        with writing(picture):
            _draw(recorded, found, picture)
    if as_json:
        facts = found.as_json() | {
            "not_reproduced": shortcomings(recorded, found),
            "out": str(out),
            "picture": str(picture),
        }
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    elif not quiet:
        console = output_console()
        _tell(recorded, found, console)
        console.print(f"written to {out}", soft_wrap=True)
        console.print(f"picture: {picture}", soft_wrap=True)
    return OK


def _tell(recorded: "Trace", found: "Fit", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    from bench.traces import describe_fit as words

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("process", Text(words.process_line(found)))
    table.add_row("why", Text(words.reason_line(found)))
    table.add_row("CV of gaps", Text(words.gap_line(found)))
    console.print(Text(recorded.name, style="bold"))
    console.print(table)
    head, body = words.dispersion_table(found)
    if body:
        console.print("variance / mean of the counts:")
        numbers = Table.grid(padding=(0, 2))
        for _ in head:
            numbers.add_column(justify="right")
        for row in (head, *body):
            numbers.add_row(*row)
        console.print(numbers)
    missing = words.shortcomings(recorded, found)
    if missing:
        console.print("not reproduced:")
    for sentence in missing:
        console.print(Text(f"- {sentence}"))


def _draw(recorded: "Trace", found: "Fit", picture: Path) -> None:
    import numpy as np

    from bench.traces.describe_fit import process_line
    from results.trace.figure import Dispersion, save_dispersion

    scales = found.scales
    dispersion = Dispersion(
        span_s=np.array([scale.span_s for scale in scales]),
        measured=np.array([scale.measured for scale in scales]),
        error=np.array([scale.error for scale in scales]),
        expected=np.array([scale.expected for scale in scales]),
    )
    if scales:
        dispersion = dispersion.beside(
            lambda span_s: found.process.count_dispersion(found.rate_rps, span_s),
            "the fitted process",
        )
    save_dispersion(f"{recorded.name}, fitted by {process_line(found)}", dispersion, picture)
