"""`dynbatch trace window`: a part of a trace, picked by a stated rule."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from workloads import Trace, Window


@takes(READING)
def window(
    trace: options.RecordingFile,
    out: options.TraceOut,
    *,
    given: Given,
    length: Annotated[float, typer.Option(help="Length of the window, s.")],
    pick: Annotated[
        str | None,
        typer.Option(
            help="busy: the 95th percentile of the number of arrivals; quiet: the 5th; typical "
            "(default): nearest the median of that number and of its dispersion; random: any.",
        ),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(help="Pick this percentile of the number of arrivals, 0 to 100."),
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="Take the window that starts here, s; pick none.")
    ] = None,
    count: Annotated[
        int,
        typer.Option(help="How many windows, none overlapping another; NAME-1, NAME-2, ..."),
    ] = 1,
    seed: options.Seed = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Cut a window out of a trace: a busy, quiet, typical or random one, or one by its start.

    The seed decides between windows that the rule cannot tell apart.
    """
    from bench.commands.trace.common import outline, write
    from bench.console import message_console, output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.traces.source import load_listed, reading_options
    from workloads import WindowRule, check_writable, pick_windows, window_at

    ways = {"--pick": pick, "--percentile": percentile, "--start": start}
    named = [name for name, value in ways.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"a window must be chosen in one way, but got {' and '.join(named)}")
    if start is not None and count != 1:
        raise InputError(f"count must be 1 with --start, but got {count}")
    check_writable(out)  # before a long file is read for nothing
    how = reading_options(given)
    whole = load_listed(trace, how, message_console(quiet=quiet)).trace
    if start is not None:
        windows = [window_at(whole, start, length)]
    else:
        rule = WindowRule(length, pick or "typical", percentile, seed or 0)
        windows = pick_windows(whole, rule, count)
    paths = _paths(out, len(windows))
    for part, path in zip(windows, paths, strict=True):
        start_s, stop_s = _span(part, whole)
        write(part.of(whole), path, f"a window of {trace}, from {start_s} s to {stop_s} s")
    if as_json:
        found = [w.as_json() | {"out": str(p)} for w, p in zip(windows, paths, strict=True)]
        sys.stdout.write(json.dumps({"trace": trace, "windows": found}, indent=2) + "\n")
    elif not quiet:
        console = output_console()
        console.print(f"{trace}: {outline(whole)}", soft_wrap=True)
        for part, path in zip(windows, paths, strict=True):
            console.print(f"{path}: {_said(part, whole)}", soft_wrap=True)
    return OK


def _paths(out: Path, count: int) -> list[Path]:
    """`out` for one window, and NAME-1.json, NAME-2.json, ... for several."""
    if count == 1:
        return [out]
    name, dot, suffixes = out.name.partition(".")
    return [out.with_name(f"{name}-{i}{dot}{suffixes}") for i in range(1, count + 1)]


def _span(part: "Window", whole: "Trace") -> tuple[str, str]:
    stop_s = min(part.start_s + part.length_s, whole.duration_s)
    return f"{part.start_s:,.6g}", f"{stop_s:,.6g}"


def _said(part: "Window", whole: "Trace") -> str:
    from results import format as fmt

    start_s, stop_s = _span(part, whole)
    said = (
        f"{start_s} s to {stop_s} s, {fmt.count(part.requests)} requests, "
        f"{fmt.rate(part.requests / part.length_s)}"
    )
    if part.candidates == 1:
        return f"{said}; no other window of {part.length_s:,.6g} s fits"
    return (
        f"{said}; of {fmt.count(part.candidates)} windows of {part.length_s:,.6g} s "
        f"{fmt.count(part.fewer)} have fewer and {fmt.count(part.more)} have more, the median has "
        f"{part.median_requests:,.6g}"
    )
