"""`dynbatch trace make`: draw arrivals from a process, or write down a process for later."""

import inspect
import json
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands import options

if TYPE_CHECKING:
    from rich.console import Console

    from workloads import ArrivalProcess, DescribedTrace, ResolvedTrace

# What a file must say and the command line may leave out; as in the built-in traces.
DURATION_S, SEED = 30.0, 7
LOADS = {"rate_rps", "utilization"}


def make(  # noqa: PLR0917 - typer passes every option by name
    process: Annotated[
        str | None,
        typer.Argument(
            help="A process (see --list), or a trace file or built-in that describes one.",
            show_default=False,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A parameter of the process; once for each. Rows are written 1,2,3 and parts "
            "of a superposition as JSON.",
        ),
    ] = None,
    rate: options.Rate = None,
    utilization: Annotated[
        float | None,
        typer.Option(help="Mean load as a share of what a model can take; with --describe only."),
    ] = None,
    duration: options.Duration = None,
    seed: options.Seed = None,
    match_load: options.MatchLoad = None,
    describe: Annotated[
        bool,
        typer.Option(
            "--describe", help="Write the process and its parameters instead of arrivals."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The trace file to write. Without it, what was drawn is only told, "
            "and a description goes to stdout."
        ),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the processes and their parameters.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print what was made as one JSON object on stdout, nothing else there."
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Draw arrivals from any process with any parameters, and write them as a trace file.

    30 s long and of seed 7 unless the options or the file say otherwise.
    """
    from bench.console import output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.streams import kept_in
    from workloads import check_writable, save, save_described
    from workloads.described import content

    console = output_console()
    if show_list:
        _list_processes(console, as_json=as_json)
        return OK
    if process is None:
        raise InputError("a process must be named (see --list), but got none")
    options_given = {
        "rate_rps": rate,
        "utilization": utilization,
        "duration_s": duration,
        "seed": seed,
        "match_load": match_load,
    }
    given = {key: value for key, value in options_given.items() if value is not None}
    spec = _described(process, _values(param or []), given)
    if describe:
        if out is not None:
            save_described(spec, out)
            kept_in(out)
        if out is None or as_json:
            sys.stdout.write(json.dumps(content(spec), indent=2) + "\n")
        elif not quiet:
            console.print(f"written to {out}", soft_wrap=True)
        return OK
    if out is not None:
        check_writable(out)
    drawn = _draw(spec)
    if out is not None:
        save(drawn.trace, out)
        kept_in(out)
    if as_json:
        sys.stdout.write(json.dumps(_facts(spec, drawn, out), indent=2) + "\n")
    elif not quiet:
        _tell(spec, drawn, out, console)
    return OK


def _values(params: list[str]) -> dict[str, Any]:
    """`name=value` options as JSON values; what is no JSON stays text, for the parser to refuse."""
    from bench.errors import InputError

    values: dict[str, Any] = {}
    for param in params:
        name, equals, text = param.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"param must be NAME=VALUE, but got {param!r}")
        if name in values:
            raise InputError(f"param must name each parameter once, but got {name!r} twice")
        values[name] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    if "," in text:
        return [_value(item.strip()) for item in text.split(",")]
    try:
        return float(text)  # takes .5, too
    except ValueError:
        return text


def _described(process: str, values: dict[str, Any], given: dict[str, Any]) -> "DescribedTrace":
    """What the command line describes; where it names a file, what that leaves open or replaces."""
    from bench.errors import InputError
    from workloads import PROCESSES, schema
    from workloads.described import parse, parse_process

    fields = _starting_from(process)
    takes = schema.field_names(PROCESSES[fields["process"]])
    shape = {key: value for key, value in fields.items() if key in takes} | values
    parse_process(fields["process"], shape)  # which says what the process takes
    if LOADS & given.keys():  # one of the two replaces either in the file
        fields = {key: value for key, value in fields.items() if key not in LOADS}
    elif not LOADS & fields.keys():
        raise InputError("a load must be given as --rate, or to --describe as --utilization")
    return parse(fields | values | given)


def _starting_from(process: str) -> dict[str, Any]:
    """The fields of a described trace before the command line has its say."""
    from bench.errors import InputError
    from workloads import PROCESSES, DescribedTrace, builtin_names, load
    from workloads.described import content

    if process in PROCESSES:
        return {"process": process, "duration_s": DURATION_S, "seed": SEED}
    named = Path(process).suffix or f"{process}.json" in builtin_names()
    if not named and not Path(process).exists():
        known = ", ".join(PROCESSES)
        raise InputError(
            f"process must be one of {known}, or a trace file that describes one, "
            f"but got {process!r}"
        )
    spec = load(process)
    if not isinstance(spec, DescribedTrace):
        raise InputError(f"{process} must describe a process to be drawn, but lists its arrivals")
    return content(spec)


def _draw(spec: "DescribedTrace") -> "ResolvedTrace":
    from bench.errors import InputError
    from workloads import resolve

    if spec.rate_rps is None:
        raise InputError(
            "a draw must have a --rate, but got a utilization, which only a model can turn into "
            "one: give --rate, or --describe to write the utilization down"
        )
    return resolve(spec)


def _facts(spec: "DescribedTrace", drawn: "ResolvedTrace", out: Path | None) -> dict[str, Any]:
    """What was drawn, for --json; null where a number does not exist."""
    cv = spec.process.gap_cv(drawn.rate_rps)
    return drawn.describe() | {
        "gap_cv": cv if math.isfinite(cv) else None,
        "expected_rate_rps": _expected_rps(spec, drawn),
        "out": None if out is None else str(out),
    }


def _expected_rps(spec: "DescribedTrace", drawn: "ResolvedTrace") -> float:
    """What the process's profile, if it has one, asks of the window on average."""
    from workloads.processes import PeriodicPoisson

    if isinstance(spec.process, PeriodicPoisson) and not spec.match_load:
        return drawn.rate_rps * spec.process.mean_factor(drawn.window_s)
    return drawn.rate_rps


def _tell(
    spec: "DescribedTrace", drawn: "ResolvedTrace", out: Path | None, console: "Console"
) -> None:
    facts = _facts(spec, drawn, out)
    realised_rps, asked_rps = facts["window_rate_rps"], drawn.rate_rps
    lines = [
        f"{spec.process.kind}: {drawn.requests:,} requests in {drawn.window_s:,.6g} s, "
        f"seed {drawn.seed}",
        f"rate  {realised_rps:,.6g} req/s, {realised_rps / asked_rps - 1:+.2%} of the "
        f"{asked_rps:,.6g} asked for",
    ]
    expected_rps = facts["expected_rate_rps"]
    if abs(expected_rps / asked_rps - 1) > 0.005:
        lines.append(
            f"      {drawn.window_s:,.6g} s are no whole periods of the profile: it has "
            f"{expected_rps:,.6g} req/s there, {asked_rps:,.6g} over a period"
        )
    if facts["match_factor"] is not None:
        lines.append(f"      matched: all times multiplied by {facts['match_factor']:.6g}")
    cv = spec.process.gap_cv(asked_rps)
    formula = "the process has no formula" if math.isnan(cv) else f"{cv:.4g} by the formula"
    got = "none" if facts["window_cv"] is None else f"{facts['window_cv']:.4g}"
    lines.append(f"CV    {got} of the gaps; {formula}")
    lines.append(f"written to {out}" if out else "written nowhere: give --out FILE to keep it")
    for line in lines:
        console.print(line, soft_wrap=True)


def _list_processes(console: "Console", *, as_json: bool) -> None:
    from workloads import PROCESSES

    told = {kind: _told(form) for kind, form in PROCESSES.items()}
    if as_json:
        as_objects = {
            kind: {"about": about, "parameters": parameters}
            for kind, (about, parameters) in told.items()
        }
        sys.stdout.write(json.dumps(as_objects, indent=2) + "\n")
        return
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for kind, (about, parameters) in told.items():
        console.print(Text.assemble((kind, "bold"), f"  {about}"))
        table = Table.grid(padding=(0, 2))
        for name, meaning in parameters.items():
            table.add_row(Text(name), Text(meaning))
        if parameters:
            console.print(Padding(table, (0, 0, 0, 4)))


def _told(form: "type[ArrivalProcess]") -> tuple[str, dict[str, str]]:
    """The first sentence of a process's docstring, and what it says of each parameter."""
    doc = inspect.getdoc(form) or ""
    _, _, attributes = doc.partition("\nAttributes:\n")
    parameters = dict.fromkeys(inspect.signature(form).parameters, "")
    for entry in re.split(r"\n(?=    \w)", f"\n{attributes}")[1:]:
        name, _, meaning = entry.strip().partition(": ")
        if name in parameters:
            parameters[name] = " ".join(meaning.split())
    return doc.partition("\n\n")[0].replace("\n", " "), parameters
