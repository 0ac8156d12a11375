"""`dynbatch trace scale`: a trace at another rate or on another time scale."""

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from rich.table import Table

    from workloads import Trace

# A decade apart; those of which too few fit into a trace say nothing and are left out.
_SCALES_S = (0.01, 0.1, 1.0, 10.0, 100.0)


@takes(READING)
def scale(
    trace: options.RecordingFile,
    out: options.TraceOut,
    rate: options.Rate = None,
    rate_by: options.RateBy = None,
    time_scale: options.TimeScale = None,
    *,
    given: Given,
    seed: options.Seed = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Play a trace at another mean rate, or stretch its time, and say what that did to its bursts.

    With both, the rate comes first and the result is then stretched.
    """
    from bench.commands.trace.common import write
    from bench.console import message_console, output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.traces.source import load_listed, reading_options
    from workloads import check_writable, rate_method, to_rate

    if rate is None and time_scale is None:
        raise InputError("a scale must be given as --rate, --time-scale or both, but got neither")
    if rate is None and rate_by is not None:
        raise InputError(f"rate_by must come with a --rate, but got {rate_by!r} alone")
    check_writable(out)  # before a long file is read for nothing
    reading = reading_options(given)
    before = load_listed(trace, reading, message_console(quiet=quiet)).trace
    after, said, notes = before, [], []
    if rate is not None:
        method = rate_method(before, rate, rate_by or "time")
        after = to_rate(before, rate, method, seed or 0)
        said.append(_difference(method, rate / before.rate_rps))
        how = "time" if method == "time" else f"{method}, seed {seed or 0}"
        notes.append(f"{trace} at {rate:,.6g} req/s (--rate-by {how})")
    if time_scale is not None:
        after = after.scaled(time_scale)
        said.append(_stretched(time_scale))
        notes.append(f"{trace} with all times multiplied by {time_scale:.6g}")
    after = write(after, out, *notes)
    if as_json:
        found = {
            "trace": trace,
            "out": str(out),
            "before": _figures(before),
            "after": _figures(after),
            "operations": after.source.get("operations", []),
            "difference": " ".join(said),
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    elif not quiet:
        console = output_console()
        console.print(_table(_figures(before), _figures(after)))
        console.print(" ".join(said))
        console.print(f"written to {out}", soft_wrap=True)
    return OK


def _difference(method: str, ratio: float) -> str:
    """What became of the bursts, in words; `ratio` is the rate asked for / the rate before."""
    if method == "thin":
        return (
            f"Each request was kept with probability {ratio:.4g}: bursts come when they came and "
            "last as long, with fewer requests in them; what the index of dispersion is above 1 "
            f"shrinks to {ratio:.4g} of it."
        )
    if method == "superpose":
        return (
            f"{ratio:.4g} copies were laid over each other, shifted by random times: bursts last "
            "as long, but those of different copies seldom coincide, so on average over seeds the "
            "index of dispersion stays as it was, and the rate swings less around its mean."
        )
    keeps = "thin" if ratio < 1 else "superpose"
    return f"{_stretched(1 / ratio)} --rate-by {keeps} would keep their length."


def _stretched(factor: float) -> str:
    return (
        f"All times were multiplied by {factor:.4g}: a burst of 1 s now lasts {factor:.4g} s, and "
        f"the index of dispersion at {factor:.4g} s is what it was at 1 s."
    )


def _figures(trace: "Trace") -> dict[str, Any]:
    from workloads.statistics import at_span

    counted = ((span_s, at_span(trace, span_s)) for span_s in _SCALES_S)
    return {
        "requests": len(trace),
        "duration_s": trace.duration_s,
        "rate_rps": trace.rate_rps,
        "gap_cv": None if math.isnan(trace.cv) else trace.cv,
        "dispersion": [
            {"span_s": span_s, "index": None if scale is None else scale.dispersion}
            for span_s, scale in counted
        ],
    }


def _table(before: dict[str, Any], after: dict[str, Any]) -> "Table":
    from rich.table import Table

    from results import format as fmt

    table = Table.grid(padding=(0, 3))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_row("", "before", "after", style="bold")
    table.add_row("requests", *(fmt.count(each["requests"]) for each in (before, after)))
    table.add_row("duration", *(f"{each['duration_s']:,.6g} s" for each in (before, after)))
    table.add_row("rate", *(fmt.rate(each["rate_rps"]) for each in (before, after)))
    table.add_row("CV of the gaps", *(fmt.number(each["gap_cv"]) for each in (before, after)))
    for was, now in zip(before["dispersion"], after["dispersion"], strict=True):
        if was["index"] is not None or now["index"] is not None:
            name = f"index of dispersion at {fmt.duration(was['span_s'])}"
            cells = (
                "too short" if each is None else fmt.number(each)
                for each in (was["index"], now["index"])
            )
            table.add_row(name, *cells)
    return table
