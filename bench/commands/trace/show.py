"""`dynbatch trace show`: what a trace is like, in the terminal, as a picture and as a page."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands import options
from bench.commands.groups import READING, Given, takes

if TYPE_CHECKING:
    from rich.console import Console

    from results.trace.figure import Arrivals, Dispersion
    from workloads import DescribedTrace, ListedTrace, ResolvedTrace
    from workloads.statistics import TraceStatistics

_PICTURE, _PAGE = "arrivals.png", "trace.html"
_SPARKS = 60
_READING = (
    "Left: the rate over time, and closer and closer to the busiest moment. Right: the share of "
    "gaps longer than a time, beside that of a Poisson process of the same rate; the variance of "
    "the number of requests in a window, over its mean, which is 1 for Poisson at every length; "
    "how long counts stay correlated."
)
_READING_TOKENS = "At the bottom: how large the requests are."


@takes(READING)
def show(
    trace: options.TraceFile,
    *,
    given: Given,
    rate: options.Rate = None,
    duration: options.Duration = None,
    seed: options.Seed = None,
    out: options.PictureFolder = None,
    as_json: options.StatisticsAsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Show what a trace is like: rate over time, gaps, how bursty it is at which time scale.

    A trace that describes a process is drawn first. Writes arrivals.png and trace.html.
    """
    from bench.console import message_console, output_console
    from bench.exit_codes import OK
    from bench.folders import writable, writing
    from bench.streams import kept_in
    from bench.traces.source import folder_of, read_trace, reading_options
    from results.trace.figure import save_arrivals
    from results.trace.report import write_trace_page
    from workloads.statistics import describe

    spec, resolved = read_trace(
        trace,
        reading_options(given),
        message_console(quiet=quiet),
        rate=rate,
        duration=duration,
        seed=seed,
    )
    with writable(out or folder_of(resolved.trace.name)) as folder:
        statistics = describe(resolved.trace)
        picture, page = folder / _PICTURE, folder / _PAGE
        with writing(folder):
            save_arrivals(_arrivals(spec, resolved, statistics), picture)
            write_trace_page(_page(statistics, picture, getattr(spec, "notes", ())), page)
            kept_in(page)
    if as_json:
        facts = statistics.as_json() | {
            "sha256": resolved.trace.fingerprint(),
            "source": dict(resolved.trace.source),
            "picture": str(picture),
            "page": str(page),
        }
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    elif not quiet:
        _tell(resolved, statistics, output_console())
        output_console().print(f"page: {page}", soft_wrap=True)
    return OK


def _tell(resolved: "ResolvedTrace", statistics: "TraceStatistics", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    from bench.traces.describe import rows

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    first, *rest = rows(statistics)
    drawn = "" if resolved.seed is None else f", drawn with seed {resolved.seed}"
    table.add_row(first[0], Text(first[1] + drawn))
    for line in _sparks(resolved, console.encoding):
        table.add_row(*line)
    for name, text in rest:
        table.add_row(name, Text(text))
    console.print(Text(statistics.name, style="bold"))
    console.print(table)


def _sparks(resolved: "ResolvedTrace", encoding: str) -> "list[tuple[str, Any]]":
    from rich.text import Text

    from results import format as fmt
    from results.format import levels_for, sparkline
    from workloads.statistics import rate_profile

    trace = resolved.trace
    if not trace.rate_rps > 0:
        return []
    bins = max(1, min(_SPARKS, len(trace) // 4))
    profile = rate_profile(trace, 0.0, trace.duration_s, bins)
    values = profile.rate_rps.tolist()
    width_s = trace.duration_s / bins
    line = sparkline(values, levels=levels_for(encoding))
    reading = f"{fmt.rate(min(values))} to {fmt.rate(max(values))}; a character is "
    return [
        ("rate", Text(line, no_wrap=True, overflow="crop")),
        ("", Text(reading + fmt.duration(width_s))),
    ]


def _arrivals(
    spec: "DescribedTrace | ListedTrace", resolved: "ResolvedTrace", statistics: "TraceStatistics"
) -> "Arrivals":
    import numpy as np

    from bench.traces.describe import headline
    from results.trace.figure import Arrivals, Rate
    from workloads.statistics import survival, zooms

    trace = resolved.trace
    memory = statistics.autocorrelation
    lags = np.arange(1.0, 1.0 + (len(memory.values) if memory else 0))
    gap_s, share = survival(trace)
    columns = {"input": trace.input_tokens, "output": trace.output_tokens}
    return Arrivals(
        title=f"{statistics.name}: {headline(statistics)}",
        rates=[Rate(zoom.edges_s, zoom.rate_rps) for zoom in zooms(trace)],
        mean_rps=trace.rate_rps,
        gap_s=gap_s,
        gap_survival=share,
        dispersion=_dispersion(spec, resolved, statistics),
        lags_s=lags * (memory.span_s if memory else 1.0),
        autocorrelation=np.array(memory.values if memory else ()),
        autocorrelation_noise=memory.noise if memory else 0.0,
        tokens={name: column for name, column in columns.items() if column is not None},
    )


def _dispersion(
    spec: "DescribedTrace | ListedTrace", resolved: "ResolvedTrace", statistics: "TraceStatistics"
) -> "Dispersion":
    """What was measured; where the trace was drawn, beside what the process's formula says."""
    import numpy as np

    from results.trace.figure import Dispersion
    from workloads import CountDispersion, DescribedTrace

    seen = [scale for scale in statistics.scales if scale.dispersion is not None]
    measured = Dispersion(
        span_s=np.array([scale.span_s for scale in seen]),
        measured=np.array([scale.dispersion for scale in seen], dtype=np.float64),
        error=np.array([scale.dispersion_error for scale in seen], dtype=np.float64),
    )
    process = spec.process if isinstance(spec, DescribedTrace) else None
    if not seen or process is None or not isinstance(process, CountDispersion):
        return measured
    if math.isnan(process.count_dispersion(resolved.rate_rps, seen[0].span_s)):
        return measured  # a superposition with a part that has no formula
    return measured.beside(
        lambda span_s: process.count_dispersion(resolved.rate_rps, span_s), "its formula"
    )


def _page(statistics: "TraceStatistics", picture: Path, notes: tuple[str, ...]) -> Any:
    from bench.traces import describe as words
    from results import format as fmt
    from results.trace.report import Table, TracePage

    gaps = statistics.gaps
    peaks = [scale for scale in statistics.scales if scale.peak_to_mean is not None]
    key_numbers = [
        ("requests", fmt.count(statistics.requests), f"in {fmt.duration(statistics.duration_s)}"),
        ("mean rate", fmt.rate(statistics.rate_rps), "requests / duration"),
        ("CV of the gaps", words.variation(gaps.cv if gaps else None), "Poisson: 1"),
    ]
    if peaks:
        longest, shortest = peaks[-1], peaks[0]
        key_numbers += [
            (
                f"dispersion in {fmt.tick(longest.span_s)}",
                fmt.number(longest.dispersion),
                f"{fmt.number(shortest.dispersion)} in {fmt.tick(shortest.span_s)}",
            ),
            (
                f"peak / mean in {fmt.tick(longest.span_s)}",
                fmt.number(longest.peak_to_mean),
                f"{fmt.number(shortest.peak_to_mean)} in {fmt.tick(shortest.span_s)}",
            ),
        ]
    return TracePage(
        name=statistics.name,
        headline=words.headline(statistics),
        remarks=[f"{note[0].upper()}{note[1:]}." for note in notes],
        key_numbers=key_numbers,
        picture=picture,
        reading=f"{_READING} {_READING_TOKENS}" if statistics.tokens else _READING,
        tables=[
            Table("Counts in windows", *words.scale_table(statistics)),
            Table("Gaps and tokens", *words.quantile_table(statistics)),
        ],
        command=shlex.join(["dynbatch", *sys.argv[1:]]),
    )
