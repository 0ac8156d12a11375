"""The options that go together, and the commands that take them."""

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from bench.commands import options

Given = dict[str, Any]
Group = dict[str, tuple[Any, Any]]  # option -> how it is declared, its value if not given


def together(**declared: Any) -> Group:
    """A group of options of which each is None where it is not given."""
    return {name: (option, None) for name, option in declared.items()}


READING = together(
    trace_format=options.TraceFormat,
    time_column=options.TimeColumn,
    time_unit=options.TimeUnit,
    date_order=options.DateOrder,
    stamp=options.Stamp,
    duration_column=options.DurationColumn,
    duration_unit=options.DurationUnit,
    count_column=options.CountColumn,
    where=options.Where,
    columns=options.ColumnNames,
    skip_bad=options.SkipBad,
    max_unpacked_gb=options.MaxUnpackedGb,
)
LOAD = together(
    trace=options.Trace,
    rate=options.Rate,
    utilization=options.Utilization,
    rate_by=options.RateBy,
    time_scale=options.TimeScale,
    duration=options.Duration,
    loop=options.Loop,
    seed=options.Seed,
    match_load=options.MatchLoad,
)
MODEL = together(
    model=options.Model,
    device=options.Device,
    dtype=options.Dtype,
    engine=options.Engine,
    captured_batch_sizes=options.CapturedBatchSizes,
    channels_last=options.ChannelsLast,
    weights=options.Weights,
    length_buckets=options.LengthBuckets,
)
PROFILE: Group = {
    "profile": (options.Profile, None),
    "profile_budget": (options.ProfileBudget, "20s"),
    "force": (options.Force, False),
}
BATCHER = together(
    policy=options.Policy,
    max_batch_size=options.MaxBatchSize,
    batch_timeout_ms=options.BatchTimeoutMs,
    min_wait_ms=options.MinWaitMs,
    preferred_batch_sizes=options.PreferredBatchSizes,
    slo_ms=options.SloMs,
    max_queue_size=options.MaxQueueSize,
    deadline_ms=options.DeadlineMs,
    execute_timeout_ms=options.ExecuteTimeoutMs,
    replicas=options.Replicas,
    in_flight=options.InFlight,
)
VERDICT = together(
    slo=options.Slo, until_decided=options.UntilDecided, max_duration=options.MaxDuration
)
CLIENT = together(client=options.Client)


def takes(
    *groups: Group, without: Collection[str] = ()
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the options of the groups, and its value of every option as `given`.

    They come after the command's own that may be given by position, and before those that are
    keywords only. An option that the command declares itself stands in place of a group's.

    Args:
        groups: in the order of the help.
        without: options of theirs that this command does not take.
    """
    shared = {name: value for group in groups for name, value in group.items()}
    for name in without:
        del shared[name]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(command, eval_str=True).parameters
        parameter = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
        taken = {name: one for name, one in own.items() if one.kind is not one.KEYWORD_ONLY}
        for name, (declared, value) in shared.items():
            taken[name] = own.get(name) or parameter(name, annotation=declared, default=value)
        taken |= {name: one for name, one in own.items() if name != "given"}

        def run(**given: Any) -> int:
            # One that may be repeated and is not there is an empty list in some versions of typer.
            given = {name: None if value == [] else value for name, value in given.items()}
            return command(given=given, **{name: given[name] for name in own if name != "given"})

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {name: one.annotation for name, one in taken.items()}
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # which typer reads
            [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in taken.values()]
        )
        return run

    return decorate
