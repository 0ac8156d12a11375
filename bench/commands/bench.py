"""`dynbatch bench`: one measured run, its numbers and its report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands import options
from bench.console import FAILED, INTERRUPTED, Interrupted, judged

if TYPE_CHECKING:
    from rich.console import Console

    from bench.live.measure import Recording
    from results.run.record import Run


def bench(  # noqa: PLR0917 - typer passes every option by name
    trace: options.Trace = None,
    trace_format: options.TraceFormat = None,
    time_column: options.TimeColumn = None,
    time_unit: options.TimeUnit = None,
    date_order: options.DateOrder = None,
    stamp: options.Stamp = None,
    duration_column: options.DurationColumn = None,
    duration_unit: options.DurationUnit = None,
    count_column: options.CountColumn = None,
    where: options.Where = None,
    columns: options.ColumnNames = None,
    skip_bad: options.SkipBad = None,
    max_unpacked_gb: options.MaxUnpackedGb = None,
    rate: options.Rate = None,
    utilization: options.Utilization = None,
    rate_by: options.RateBy = None,
    time_scale: options.TimeScale = None,
    duration: options.Duration = None,
    loop: options.Loop = None,
    seed: options.Seed = None,
    match_load: options.MatchLoad = None,
    client: options.Client = None,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    engine: options.Engine = None,
    captured_batch_sizes: options.CapturedBatchSizes = None,
    channels_last: options.ChannelsLast = None,
    weights: options.Weights = None,
    length_buckets: options.LengthBuckets = None,
    policy: options.Policy = None,
    max_batch_size: options.MaxBatchSize = None,
    batch_timeout_ms: options.BatchTimeoutMs = None,
    min_wait_ms: options.MinWaitMs = None,
    preferred_batch_sizes: options.PreferredBatchSizes = None,
    slo_ms: options.SloMs = None,
    max_queue_size: options.MaxQueueSize = None,
    deadline_ms: options.DeadlineMs = None,
    execute_timeout_ms: options.ExecuteTimeoutMs = None,
    replicas: options.Replicas = None,
    in_flight: options.InFlight = None,
    predict: options.Predict = False,
    profile: options.Profile = None,
    profile_budget: options.ProfileBudget = "20s",
    force: options.Force = False,
    slo: options.Slo = None,
    until_decided: options.UntilDecided = None,
    max_duration: options.MaxDuration = None,
    config: options.Config = None,
    out: options.Out = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    strict: options.Strict = False,
) -> int:
    """Replay a trace against a model behind a dynamic batcher; measure, and write a report.

    With no option at all: the model mlp under the built-in bursty trace.
    """
    slo = slo or None
    given: dict[str, Any] = dict(locals())
    from batching import RealClock
    from bench.console import message_console, output_console, stdout_kept
    from bench.folders import run_folder
    from bench.live.measure import measure_run
    from bench.live.prediction import Profiling
    from bench.live.session import Session
    from bench.settings import load_settings, parse_duration_s
    from bench.traces.source import tell_windows
    from results.run.record import RECORD

    settings = load_settings(config, given)
    budget_s = parse_duration_s("profile_budget", profile_budget)
    profiling = Profiling(profile, budget_s, force) if predict or profile is not None else None
    messages = message_console(quiet=quiet)
    with (
        stdout_kept(as_json),
        run_folder(out, settings.model.model, settings.replay.trace) as folder,
    ):
        session = Session(settings, RealClock(), messages, profiling=profiling)
        tell_windows([session.arrivals], messages)
        recording = measure_run(session)
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
