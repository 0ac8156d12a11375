"""`dynbatch bench`: one measured run, its numbers and its report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands import options
from bench.commands.groups import (
    BATCHER,
    CLIENT,
    LOAD,
    MODEL,
    PROFILE,
    READING,
    VERDICT,
    Given,
    takes,
)
from bench.exit_codes import FAILED, INTERRUPTED, Interrupted, judged

if TYPE_CHECKING:
    from rich.console import Console

    from bench.live.measure import Recording
    from results.run.record import Run


@takes(LOAD, READING, CLIENT, MODEL, BATCHER, PROFILE, VERDICT)
def bench(
    *,
    given: Given,
    predict: options.Predict = False,
    config: options.Config = None,
    out: options.Out = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    strict: options.Strict = False,
) -> int:
    """Replay a trace against a model behind a dynamic batcher; measure, and write a report.

    With no option at all: the model mlp under the built-in bursty trace.
    """
    from batching import RealClock
    from bench.console import message_console, output_console, stdout_kept
    from bench.folders import run_folder
    from bench.live.measure import measure_run
    from bench.live.plan import plan_run
    from bench.live.session import Session
    from bench.profiling.load import load_for
    from bench.settings import load_settings, parse_duration_s
    from bench.traces.source import load_replayed, tell_windows
    from results.run.record import RECORD

    settings = load_settings(config, given)
    budget_s = parse_duration_s("profile_budget", given["profile_budget"])
    messages = message_console(quiet=quiet)
    with (
        stdout_kept(as_json),
        run_folder(out, settings.model.model, settings.replay.trace) as folder,
    ):
        clock, loaded = RealClock(), None
        spec = load_replayed(settings.replay, messages)
        session = Session(settings.model, [settings.batcher], clock, messages)
        if predict or given["profile"] is not None:
            loaded = load_for(
                session.model,
                session.placement,
                clock,
                messages,
                profile=given["profile"],
                max_batch_size=settings.batcher.max_batch_size,
                budget_s=budget_s,
                force=given["force"],
            )
        planned = plan_run(session, settings, spec, loaded)
        tell_windows([planned.arrivals], messages)
        recording = measure_run(session, planned)
        if not len(recording.requests) or recording.window_s <= 0:
            return Interrupted("nothing had been measured, and nothing is kept")
        try:
            run = _keep(folder, recording, messages)
        except KeyboardInterrupt:
            if not (folder / RECORD).exists():
                raise
            return Interrupted(f"the logs are kept: dynbatch report {folder}")
    return _tell(run, recording, output_console(), as_json=as_json, quiet=quiet, strict=strict)


def _keep(folder: Path, recording: "Recording", messages: "Console") -> "Run":
    """Write the logs, then what is computed from them, then the report."""
    from bench.live.measure import write_run
    from bench.streams import kept_in
    from results.run.report import write_report

    run = write_run(folder, recording)
    kept_in(folder)
    messages.print("drawing the report")
    write_report(run)
    return run


def _tell(
    run: "Run",
    recording: "Recording",
    output: "Console",
    *,
    as_json: bool,
    quiet: bool,
    strict: bool,
) -> int:
    """Print what came out and choose the exit code."""
    from bench.streams import say
    from results.run import summary
    from results.run.record import REPORT

    if as_json:
        sys.stdout.write(summary.as_json(run))
    elif not quiet:
        output.print(summary.summary(run))
        output.print(f"report: {run.path / REPORT}", soft_wrap=True)
    error = recording.first_error
    if isinstance(error, Exception):
        say(f"first error: {error}")
    if recording.interrupted:
        return INTERRUPTED
    if recording.partial or not run.metrics.counts.ok:
        return FAILED
    return judged(run, strict=strict)
