"""`dynbatch trace convert`: a recording in any known format becomes a trace file of ours."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from workloads import ListedTrace, Trace


@takes(READING)
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The recording; - is standard input.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help="What to write: .parquet, .json or .csv, the last two also with .gz or .zst.",
        ),
    ],
    *,
    given: Given,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Read a recording in any known format, and write it as a trace.

    The content says the format; it may be compressed by gzip, zstd, bzip2, xz or zip.
    """
    from bench.console import message_console, output_console
    from bench.exit_codes import OK
    from bench.streams import kept_in
    from bench.traces.source import load_listed, reading_options
    from workloads import check_writable, save

    check_writable(target)  # before a long file is read for nothing
    how = reading_options(given)
    spec = load_listed(source, how, message_console(quiet=quiet))
    save(spec.trace, target)
    kept_in(target)
    if as_json:
        sys.stdout.write(json.dumps(_facts(spec, source, target), indent=2) + "\n")
    elif not quiet:
        console = output_console()
        console.print(_told(spec, source, target), soft_wrap=True)
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
    from bench.commands.trace.common import outline

    lines = [
        f"read {source} as {spec.format}: {outline(spec.trace)}",
        f"tokens: {_tokens(spec.trace)}",
        f"written to {target}",
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
