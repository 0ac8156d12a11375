"""`dynbatch simulate`: what a run would measure, in less time and without the device."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands import options
from bench.console import judged

if TYPE_CHECKING:
    from bench.profiling.load import Loaded
    from bench.settings import Settings
    from bench.simulation.sweep import SweepPlan
    from results.run.record import Run
    from workloads import ResolvedTrace


def simulate(  # noqa: PLR0917 - typer passes every option by name
    trace: options.Trace = None,
    rate: options.Rate = None,
    utilization: options.Utilizations = None,
    rate_by: options.RateBy = None,
    time_scale: options.TimeScale = None,
    duration: options.Duration = None,
    loop: options.Loop = None,
    seed: options.Seed = None,
    match_load: options.MatchLoad = None,
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
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    engine: options.Engine = None,
    captured_batch_sizes: options.CapturedBatchSizes = None,
    channels_last: options.ChannelsLast = None,
    profile: options.Profile = None,
    profile_budget: options.ProfileBudget = "20s",
    force: options.Force = False,
    policy: options.Policy = None,
    max_batch_size: options.MaxBatchSize = None,
    batch_timeout_ms: options.BatchTimeoutMs = None,
    min_wait_ms: options.MinWaitMs = None,
    preferred_batch_sizes: options.PreferredBatchSizes = None,
    slo_ms: options.SloMs = None,
    max_queue_size: options.MaxQueueSize = None,
    deadline_ms: options.DeadlineMs = None,
    replicas: options.Replicas = None,
    in_flight: options.InFlight = None,
    slo: options.Slo = None,
    sweep: options.Sweep = None,
    config: options.Config = None,
    out: options.Out = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    strict: options.Strict = False,
) -> int:
    """Serve a trace in virtual time, with batch times from a profile or a synthetic model.

    The policies are those of the live batcher; the run it writes is one like a measured run, and
    labelled simulated. With --sweep it tries every combination of some knobs instead.
    """
    slo = slo or None
    given: dict[str, Any] = dict(locals())
    from batching import RealClock
    from bench.console import message_console, stdout_kept
    from bench.errors import InputError
    from bench.folders import run_folder
    from bench.profiling.load import load_source
    from bench.settings import load_settings, parse_duration_s
    from bench.simulation import arrivals
    from bench.simulation.sweep import SweepPlan, parse_sweep, run_sweep, tell_sweep, write_sweep
    from bench.traces.source import load_replayed, tell_windows

    loads = arrivals.utilizations(utilization)
    plan = parse_sweep(sweep) if sweep else None
    given["utilization"] = loads[0] if loads else None
    settings = load_settings(config, given)
    if len(loads) > 1 and plan is None:
        plan = SweepPlan(())
    if slo and plan is not None:
        raise InputError(
            f"slo must be of one simulated run, but got {', '.join(slo)} with a sweep: give "
            "--slo-ms, and the surface is of goodput"
        )
    if settings.slo.until_decided:
        raise InputError("until_decided must be of a measured run, but this one is simulated")
    messages = message_console(quiet=quiet)
    with stdout_kept(as_json):
        spec = load_replayed(settings.replay, messages)
        loaded = load_source(
            settings if plan is None else _with_largest_batch(settings, plan),
            RealClock(),
            messages,
            profile=profile,
            model_named=model is not None,
            budget_s=parse_duration_s("profile_budget", profile_budget),
            force=force,
        )
        with run_folder(out, loaded.model, settings.replay.trace, "simulated") as folder:
            replicas = settings.batcher.replicas or 1
            resolved = arrivals.resolve(spec, settings.replay, loaded, replicas)
            tell_windows([resolved], messages)
            if plan is not None:
                swept = run_sweep(plan, settings, loaded, spec, loads)
                write_sweep(swept, folder)
            else:
                run = _run(settings, loaded, resolved, folder)
    if plan is not None:
        return tell_sweep(swept, folder, as_json=as_json, quiet=quiet)
    return _tell(run, as_json=as_json, quiet=quiet, strict=strict)


def _with_largest_batch(settings: "Settings", plan: "SweepPlan") -> "Settings":
    """The settings with the largest batch that the sweep tries, which batch times are needed to."""
    largest = plan.largest_batch(settings.batcher.max_batch_size)
    batcher = settings.batcher.model_copy(update={"max_batch_size": largest})
    return settings.model_copy(update={"batcher": batcher})


def _run(settings: "Settings", loaded: "Loaded", resolved: "ResolvedTrace", folder: Path) -> "Run":
    from bench.simulation.run import write_simulation
    from bench.simulation.setup import Setup
    from bench.streams import kept_in
    from results.run.report import write_report

    setup = Setup(settings.batcher, loaded.source, settings.batcher.replicas or 1)
    command = shlex.join(["dynbatch", *sys.argv[1:]])
    run = write_simulation(setup, settings, loaded, resolved, folder, command=command)
    write_report(run)
    kept_in(folder)
    return run


def _tell(run: "Run", *, as_json: bool, quiet: bool, strict: bool) -> int:
    from bench.console import output_console
    from results.run import summary
    from results.run.record import REPORT

    if as_json:
        sys.stdout.write(summary.as_json(run))
    elif not quiet:
        output = output_console()
        output.print(summary.summary(run))
        output.print(f"report: {run.path / REPORT}", soft_wrap=True)
    return judged(run, strict=strict)
