"""`dynbatch trace merge`: several traces as one."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from rich.console import Console

    from workloads import Trace


@takes(READING)
def merge(
    traces: Annotated[
        list[str], typer.Argument(metavar="TRACE...", help="Trace files that list their arrivals.")
    ],
    out: options.TraceOut,
    concat: Annotated[
        bool,
        typer.Option("--concat", help="One behind the other, instead of all at the same time."),
    ] = False,
    offset: Annotated[
        list[float] | None,
        typer.Option(help="When a trace starts, s; once for each of them, in their order."),
    ] = None,
    drop_tokens: Annotated[
        bool,
        typer.Option("--drop-tokens", help="Leave token counts out, which all or none must have."),
    ] = False,
    *,
    given: Given,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Merge traces: lay them over each other, or put one behind the other.

    Every request is kept at its own time.
    """
    from bench.commands.trace.common import outline, write
    from bench.console import message_console, output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.traces.source import load_listed, reading_options
    from workloads import check_writable, concatenated, merged, without_tokens

    if len(traces) < 2:
        raise InputError(f"traces must be at least two to be merged, but got {len(traces)}")
    if offset and concat:
        raise InputError("traces must be merged by --offset or by --concat, but got both")
    if offset and len(offset) != len(traces):
        raise InputError(
            f"offset must be given once for each of the {len(traces)} traces, but got {len(offset)}"
        )
    check_writable(out)  # before long files are read for nothing
    messages = message_console(quiet=quiet)
    how = reading_options(given)
    each = {p: load_listed(p, how, messages).trace for p in dict.fromkeys(traces)}
    parts = [each[path] for path in traces]
    if drop_tokens:
        parts = [without_tokens(part) for part in parts]
    if offset:
        parts = [part.delayed(by_s) for part, by_s in zip(parts, offset, strict=True)]
    together = f"merged from {' and '.join(traces)}{', one behind the other' if concat else ''}"
    notes = [f"{path}: {n}" for path, p in zip(traces, parts, strict=True) for n in _notes(p)]
    whole = write(concatenated(parts) if concat else merged(parts), out, *notes, together)
    if not concat:
        _warn_of_ends(traces, parts, messages)
    if as_json:
        found = {
            "traces": traces,
            "out": str(out),
            "requests": len(whole),
            "duration_s": whole.duration_s,
            "rate_rps": whole.rate_rps,
            "input_tokens": whole.input_tokens is not None,
            "output_tokens": whole.output_tokens is not None,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    elif not quiet:
        console = output_console()
        for path, part in zip([*traces, str(out)], [*parts, whole], strict=True):
            console.print(f"{path}: {outline(part)}", soft_wrap=True)
    return OK


def _notes(part: "Trace") -> list[str]:
    return list(part.source.get("notes", ()))


def _warn_of_ends(paths: list[str], parts: "list[Trace]", messages: "Console") -> None:
    """Where a trace ends before the others do, the load falls, which nobody may have meant."""
    longest_s = max(part.duration_s for part in parts)
    for path, part in zip(paths, parts, strict=True):
        if part.duration_s < 0.99 * longest_s:
            messages.print(
                f"{path} ends at {part.duration_s:,.6g} s of {longest_s:,.6g} s: the load falls "
                "there",
                soft_wrap=True,
            )
