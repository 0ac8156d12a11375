"""`dynbatch trace convert`: a recording in any known format becomes a trace file of ours."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options

if TYPE_CHECKING:
    from workloads import ListedTrace, Trace


def convert(  # noqa: PLR0917 - typer passes every option by name
    source: Annotated[str, typer.Argument(help="The recording; - is standard input.")],
    target: Annotated[
        Path,
        typer.Argument(
            help="What to write: .parquet, .json or .csv, the last two also with .gz or .zst."
        ),
    ],
    trace_format: options.TraceFormat = None,
    time_column: options.TimeColumn = None,
    time_unit: options.TimeUnit = None,
    skip_bad: options.SkipBad = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Read a recording in any known format, and write it as a trace.

    The format is recognised by the content, which may be compressed by gzip or zstd.
    """
    import workloads
    from bench.console import message_console, output_console
    from bench.errors import InputError
    from bench.exits import OK

    workloads.check_writable(target)  # before a long file is read for nothing
    spec = workloads.load(
        source,
        workloads.Reading(
            format=trace_format,
            time_column=time_column,
            time_unit=time_unit,  # type: ignore[arg-type] # Reading checks it
            skip_bad=skip_bad or 0,
        ),
    )
    if isinstance(spec, workloads.DescribedTrace):
        raise InputError(
            f"source must list arrivals, but {source} describes a {spec.process.kind} process, "
            "which is drawn anew for each seed"
        )
    workloads.save(spec.trace, target)
    messages = message_console(quiet=quiet)
    for note in spec.notes:
        messages.print(f"{source}: {note}", markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(_facts(spec, source, target), indent=2) + "\n")
    elif not quiet:
        console = output_console()
        console.print(_told(spec, source, target), markup=False, soft_wrap=True)
    return OK


def _facts(spec: "ListedTrace", source: str, target: Path) -> dict[str, Any]:
    trace = spec.trace
    return {
        "source": source,
        "target": str(target),
        "format": spec.format,
        "notes": list(spec.notes),
        "name": trace.name,
        "requests": len(trace),
        "duration_s": trace.duration_s,
        "rate_rps": trace.rate_rps if trace.duration_s > 0 else None,
        "input_tokens": _sum(trace.input_tokens),
        "output_tokens": _sum(trace.output_tokens),
        "sha256": trace.fingerprint(),
    }


def _told(spec: "ListedTrace", source: str, target: Path) -> str:
    trace = spec.trace
    rate = f", {trace.rate_rps:,.4g} req/s" if trace.duration_s > 0 else ""
    lines = [
        f"read {source} as {spec.format}: {len(trace):,} requests over "
        f"{trace.duration_s:,.6g} s{rate}",
        f"tokens: {_tokens(trace)}",
        f"wrote {target}",
    ]
    return "\n".join(lines)


def _tokens(trace: "Trace") -> str:
    known = [
        f"{count / len(trace):,.4g} {which} a request"
        for which, count in (
            ("in", _sum(trace.input_tokens)),
            ("out", _sum(trace.output_tokens)),
        )
        if count is not None
    ]
    return ", ".join(known) or "none recorded"


def _sum(tokens: Any) -> int | None:
    return None if tokens is None else int(tokens.sum(dtype="int64"))
