"""`dynbatch capacity`: the highest load at which an SLO is met."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands import options
from bench.commands.groups import BATCHER, LOAD, MODEL, PROFILE, READING, Given, takes
from bench.exit_codes import NO, OK, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from bench.profiling.load import Loaded
    from bench.settings import Settings
    from bench.simulation.capacity import LatencyObjective
    from bench.traces.arrivals import Spec


Objective = Annotated[
    str,
    typer.Option(
        "--slo",
        metavar="OBJECTIVE",
        help="What the load must meet, on a percentile or the mean of latency: 'p99<=50ms'.",
        rich_help_panel=options.LOAD,
    ),
]
Draws = Annotated[
    int,
    typer.Option(
        min=1,
        help="Draws of the trace that are taken together at each load.",
        rich_help_panel=options.LOAD,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Replay at the load that was found, for real.",
        rich_help_panel=options.OUTPUT,
    ),
]
CapacityOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder for capacity.json and capacity.png; default runs/<id>.",
        rich_help_panel=options.OUTPUT,
    ),
]


@takes(
    LOAD,
    READING,
    MODEL,
    PROFILE,
    BATCHER,
    without=(
        "rate",
        "utilization",
        "weights",
        "length_buckets",
        "execute_timeout_ms",
    ),
)
def capacity(
    slo: Objective,
    *,
    given: Given,
    draws: Draws = 3,
    check: Check = False,
    config: options.Config = None,
    out: CapacityOut = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Find the highest load that meets an SLO: bracketed and bisected in simulation.

    Exit code 3 if no load meets it, or if the replay of --check does not.
    """
    given = {name: value for name, value in given.items() if name != "slo"}
    from batching import RealClock
    from bench.console import message_console, stdout_kept
    from bench.folders import run_folder
    from bench.profiling.load import load_source
    from bench.settings import load_settings, parse_duration_s
    from bench.simulation.capacity import LatencyObjective
    from bench.simulation.capacity_result import find
    from bench.simulation.setup import Setup
    from bench.traces import arrivals
    from bench.traces.source import load_replayed

    objective = LatencyObjective.parse(slo)
    settings = load_settings(config, given)
    messages = message_console(quiet=quiet)
    with stdout_kept(as_json):
        spec = load_replayed(settings.replay, messages)
        loaded = load_source(
            settings,
            RealClock(),
            messages,
            profile=given["profile"],
            model_named=given["model"] is not None,
            budget_s=parse_duration_s("profile_budget", given["profile_budget"]),
            force=given["force"],
        )
        with run_folder(out, loaded.model, settings.replay.trace, "capacity") as folder:
            setup = Setup(settings.batcher, loaded.source, settings.batcher.replicas or 1)
            found = find(setup, objective, arrivals.Draws(spec, settings.replay, draws), loaded)
            content: dict[str, Any] = {
                "simulated": True,
                "model": loaded.model,
                "device": loaded.device,
                **loaded.describe(),
                "trace": settings.replay.trace,
                "batcher": settings.batcher.model_dump(mode="json"),
                "metric": objective.name,
                "slo_s": objective.limit_s,
                **found.as_json(),
                "check": None,
            }
            _keep(content, folder)
            if check and content["rate_rps"] is not None:
                interrupted = _check(settings, spec, loaded, objective, content, folder, messages)
                _keep(content, folder)
                if interrupted:
                    said = "the check is not kept; " if content["check"] is None else ""
                    return Interrupted(f"{said}what was found is in {folder}")
    _tell(content, folder, as_json=as_json, quiet=quiet)
    checked = content["check"]
    return NO if content["rate_rps"] is None or (checked and not checked["met"]) else OK


def _keep(content: dict[str, Any], folder: Path) -> None:
    from bench.streams import kept_in
    from results.figures.capacity import save_capacity_figure
    from results.files import write_text

    if content["trials"]:
        save_capacity_figure(content, folder / "capacity.png")
    write_text(folder / "capacity.json", json.dumps(content, indent=1) + "\n")
    kept_in(folder)


def _check(  # noqa: PLR0917 - private, and called in one place
    settings: "Settings",
    spec: "Spec",
    loaded: "Loaded",
    objective: "LatencyObjective",
    content: dict[str, Any],
    folder: Path,
    messages: "Console",
) -> bool:
    """Replay at the load that was found, into `content`; whether that was interrupted.

    Raises:
        RunFailedError: the replay ended early.
    """
    from batching import RealClock
    from bench.errors import RunFailedError
    from bench.live.measure import measure_run, write_run
    from bench.live.plan import plan_run
    from bench.live.session import Session
    from bench.profiling.load import matching
    from results.run.report import write_report

    load = {"rate": content["rate_rps"] * settings.replay.time_scale, "utilization": None}
    if loaded.profile is not None:
        messages.print("checking on this machine")
    settings = settings.model_copy(update={"replay": settings.replay.model_copy(update=load)})
    session = Session(settings.model, [settings.batcher], RealClock(), messages)
    if loaded.profile is not None:
        force = bool(loaded.differences)
        matching(loaded.profile, session.model, session.placement, force=force)
    recording = measure_run(session, plan_run(session, settings, spec, loaded))
    if recording.interrupted and recording.partial:
        return True
    if recording.partial or not len(recording.requests):
        raise RunFailedError(f"the check failed: {recording.first_error or 'nothing was sent'}")
    run = write_run(folder / "check", recording)
    write_report(run)
    content["check"] = {
        "run": str(run.path),
        "valid": run.record.valid,
        "findings": [finding.code for finding in run.record.findings],
        **objective.judged(run),
        "prediction_error": run.metrics.prediction_error,
    }
    return recording.interrupted


def _tell(content: dict[str, Any], folder: Path, *, as_json: bool, quiet: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from bench.console import output_console
    from bench.simulation.capacity_result import rows

    if as_json:
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
        return
    if quiet:
        return
    console = output_console()
    console.print(Text("SIMULATED", style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows(content):
        table.add_row(name, Text(text))
    console.print(table)
    for name, path in (("numbers", folder / "capacity.json"), ("picture", folder / "capacity.png")):
        if path.exists():
            console.print(f"{name}: {path}", soft_wrap=True)
