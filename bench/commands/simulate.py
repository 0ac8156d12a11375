"""`dynbatch simulate`: what a run would measure, in less time and without the device."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands import options
from bench.commands.groups import BATCHER, LOAD, MODEL, PROFILE, READING, Given, takes
from bench.exit_codes import judged

if TYPE_CHECKING:
    from bench.profiling.load import Loaded
    from bench.settings import Settings
    from bench.simulation.sweep import SweepPlan
    from results.run.record import Run
    from workloads import ResolvedTrace


@takes(
    LOAD,
    READING,
    MODEL,
    PROFILE,
    BATCHER,
    without=(
        "weights",
        "length_buckets",
        "execute_timeout_ms",
    ),
)
def simulate(
    *,
    given: Given,
    utilization: options.Utilizations = None,
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
    from batching import RealClock
    from bench.console import message_console, stdout_kept
    from bench.errors import InputError
    from bench.folders import run_folder
    from bench.profiling.load import load_source
    from bench.settings import load_settings, parse_duration_s
    from bench.simulation.sweep import SweepPlan, parse_sweep, run_sweep, tell_sweep, write_sweep
    from bench.traces import arrivals
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
            profile=given["profile"],
            model_named=given["model"] is not None,
            budget_s=parse_duration_s("profile_budget", given["profile_budget"]),
            force=given["force"],
        )
        with run_folder(out, loaded.model, settings.replay.trace, "simulated") as folder:
            peak_rps = partial(loaded.peak_rps, settings.batcher.replicas)
            resolved = arrivals.resolve(spec, settings.replay, peak_rps)
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
