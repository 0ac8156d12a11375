"""From a trace file and the options of a command to the arrivals of one run, or of several draws.

The options apply in this order:

1. Load. The mean rate, in requests per second: the caller's rate_rps, or the caller's
   utilization x peak_rps, or what the file says; a listed trace plays at its own rate where
   nothing else is asked. Loads scale rates: a described trace keeps the length of its bursts.
   A listed one has only its arrivals, so its whole time axis is stretched, unless rate_by asks
   for thinning or superposing, which keep it (see workloads.operations.scaling).
2. Time scale k. Every time is multiplied by k, bursts included; the mean rate becomes rate / k.
   A described trace is drawn over 1 / k of the time, so that the result has the asked length.
3. Matched load, for a described trace and if asked for: time is stretched a little, so that the
   window holds exactly rate x duration requests, rounded (see workloads.matching).
4. Loop. A listed trace that is shorter than the window and its tail is played again from its
   start, as often as needed, if loop says so.
5. Duration. The first duration_s of the result are the measured window, by default as long as
   the file says, and a listed trace as long as it is.
6. Tail. Up to tail_s more seconds of arrivals follow the window, to keep its end under load.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from workloads.checks import not_negative, positive
from workloads.draws import check_draws, draw_seed, draws_of
from workloads.errors import TraceError
from workloads.loads import Load, load_of
from workloads.operations.scaling import RateMethod, check_rate_by, rate_method, to_rate
from workloads.resolved import ResolvedTrace
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import SAME, Trace, check_seed

# Nobody waits three years for a first request; a date in seconds since 1970 is ten times this.
LATEST_START_S = 1e8


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the caller asks for beside the load."""

    time_scale: float
    duration_s: float | None
    tail_s: float
    seed: int | None
    match_load: bool | None
    rate_by: str | None
    loop: bool

    def __post_init__(self) -> None:
        positive("time_scale", self.time_scale, TraceError)
        not_negative("tail_s", self.tail_s, TraceError)
        if self.duration_s is not None:
            positive("duration_s", self.duration_s, TraceError)
        if self.seed is not None:
            check_seed(self.seed)
        if self.rate_by is not None:
            check_rate_by(self.rate_by)

    def check(self, spec: DescribedTrace | ListedTrace) -> None:
        if self.rate_by is not None and isinstance(spec, DescribedTrace):
            raise TraceError(
                f"rate_by must be for a trace that lists its arrivals, but {spec.label} describes "
                "a process, which is drawn at the rate asked for"
            )
        if isinstance(spec, ListedTrace):
            if self.match_load:
                raise TraceError(
                    f"--match-load must go with a described trace, but {spec.trace.name} lists its "
                    "arrivals: give a --rate and play all of it"
                )
            _check_start(spec)

    @property
    def seed_or_0(self) -> int:
        return 0 if self.seed is None else self.seed


def resolve(
    spec: DescribedTrace | ListedTrace,
    *,
    rate_rps: float | None = None,
    time_scale: float = 1.0,
    duration_s: float | None = None,
    tail_s: float = 0.0,
    seed: int | None = None,
    peak_rps: Callable[[], float] | None = None,
    utilization: float | None = None,
    match_load: bool | None = None,
    rate_by: str | None = None,
    loop: bool = False,
) -> ResolvedTrace:
    """Apply a command's options to a trace file, in the order of the module's docstring.

    Args:
        spec: What `load` read.
        rate_rps: Mean rate to play at; excludes `utilization`.
        time_scale: Factor on all times, > 0; 2 plays half as fast.
        duration_s: Length of the measured window in seconds.
        tail_s: How many seconds of arrivals should follow the window.
        seed: Seed instead of the file's. A listed trace has none; thinning and superposing it
            take 0 where none is given.
        peak_rps: Measures the highest rate the system can serve. Called at most once, and only
            if the load is a utilization.
        utilization: Load as a share of that rate.
        match_load: Whether the window must hold exactly rate x duration requests, instead of
            what the file says; described traces only.
        rate_by: How a listed trace gets its rate; None for its default, `time`.
        loop: Whether a listed trace may be played again from its start.

    Raises:
        WorkloadError: An option out of range, rate and utilization together, a utilization
            without peak_rps, rate_by for a described trace, a recording shorter than asked, or
            a window without arrivals.
    """
    asked = _Asked(
        time_scale=time_scale,
        duration_s=duration_s,
        tail_s=tail_s,
        seed=seed,
        match_load=match_load,
        rate_by=rate_by,
        loop=loop,
    )
    asked.check(spec)
    load = load_of(spec, rate_rps, utilization, peak_rps)
    if isinstance(spec, DescribedTrace):
        return _drawn(spec, load, asked, spec.seed if seed is None else seed)
    return _cut(_played(spec, load, asked), asked)


def resolve_draws(
    spec: DescribedTrace | ListedTrace,
    draws: int,
    *,
    rate_rps: float | None = None,
    time_scale: float = 1.0,
    duration_s: float | None = None,
    tail_s: float = 0.0,
    seed: int | None = None,
    peak_rps: Callable[[], float] | None = None,
    utilization: float | None = None,
    match_load: bool | None = None,
    rate_by: str | None = None,
    loop: bool = False,
    block_s: float | None = None,
    first: int = 0,
) -> list[ResolvedTrace]:
    """Several draws of one workload at one load, each with a window and a tail of its own.

    The load is resolved, and the peak measured, once. See `workloads.draws` for how the draws
    are made and what independence they have; `describe()["operations"]` says which way was
    taken. Draw i of a described trace depends on (seed, i) only, so more draws begin with the
    same ones; its own seed, in `ResolvedTrace.seed`, draws it again. Windows of a recording keep
    the rate they have there: the load is that of the recording as a whole.

    Args:
        spec: What `load` read.
        draws: How many, >= 1.
        rate_rps: As for `resolve`, and so are the others that are not below.
        time_scale: As above.
        duration_s: As above, of each draw.
        tail_s: As above. Tails are shortened where that lets the windows of a recording be
            disjoint.
        seed: Seed from which all draws are derived.
        peak_rps: As above.
        utilization: As above.
        match_load: As above.
        rate_by: As above.
        loop: Whether draws may be longer than a listed trace; they are resampled, not repeated,
            but hold no more evidence than one pass.
        block_s: Length of a bootstrap's blocks in seconds; see `draws_of`.
        first: The number of the first, those before it are not made.

    Raises:
        WorkloadError: As for `resolve`, for any of the draws.
    """
    check_draws(draws)
    asked = _Asked(
        time_scale=time_scale,
        duration_s=duration_s,
        tail_s=tail_s,
        seed=seed,
        match_load=match_load,
        rate_by=rate_by,
        loop=loop,
    )
    asked.check(spec)
    load = load_of(spec, rate_rps, utilization, peak_rps)
    if isinstance(spec, DescribedTrace):
        own = spec.seed if seed is None else seed
        numbers = range(first, first + draws)
        return [_drawn(spec, load, asked, draw_seed(own, i)) for i in numbers]
    return _drawn_from(_played(spec, load, asked), asked, draws, block_s, first)


def _drawn(spec: DescribedTrace, load: Load, asked: _Asked, seed: int) -> ResolvedTrace:
    """Steps 2 to 6 for a described trace: a draw as long as asked once it is scaled."""
    window_s = spec.duration_s if asked.duration_s is None else asked.duration_s
    if asked.match_load is not None:
        spec = replace(spec, match_load=asked.match_load)
    scale = asked.time_scale
    trace = spec.draw(load.rate_rps, window_s / scale, seed, tail_s=asked.tail_s / scale)
    trace = trace.scaled(scale)
    # There and back again may have moved the end by one rounding.
    length_s = max(window_s + asked.tail_s, float(trace.arrival_s.max(initial=0.0)))
    trace = replace(trace, duration_s=length_s)
    return _resolved(trace, window_s, asked.tail_s, load, asked, seed=seed)


@dataclass(frozen=True)
class _Played:
    """A listed trace after steps 1 and 2: one pass of what is played."""

    trace: Trace
    load: Load
    rate_by: RateMethod

    @property
    def pass_s(self) -> float:
        return self.trace.duration_s

    def window_s(self, asked: _Asked) -> float:
        """How long the window is; TraceError if that is longer than it may be."""
        window_s = self.pass_s if asked.duration_s is None else asked.duration_s
        if window_s > self.pass_s * (1 + SAME) and not asked.loop:
            raise self._too_short(window_s, asked)
        return window_s

    def _too_short(self, window_s: float, asked: _Asked) -> TraceError:
        rate_rps, pass_s = self.load.rate_rps, self.pass_s
        at = f"{rate_rps:.6g} req/s"
        if asked.time_scale != 1:
            at += f" and time scale {asked.time_scale:.12g}"
        # Only a rate that stretches time makes a recording last longer.
        lower = f"a lower --rate (at most {_rounded_down(rate_rps * pass_s / window_s)}), "
        ways = lower if self.rate_by == "time" else ""
        return TraceError(
            f"{self.trace.name} must last {window_s:.12g} s, but its {len(self.trace):,} requests "
            f"last {_rounded_down(pass_s)} s at {at}: give {ways}a shorter --duration (at most "
            f"{_rounded_down(pass_s)}) or --loop to play it again from its start, or fit a "
            "process, which can be drawn at any length (dynbatch trace fit)"
        )


def _played(spec: ListedTrace, load: Load, asked: _Asked) -> _Played:
    """Steps 1 and 2 for a listed trace."""
    method = rate_method(spec.trace, load.rate_rps, asked.rate_by or "time")
    trace = to_rate(spec.trace, load.rate_rps, method, asked.seed_or_0)
    return _Played(trace.scaled(asked.time_scale), load, method)


def _cut(played: _Played, asked: _Asked) -> ResolvedTrace:
    """Steps 4 to 6 for a listed trace: its window, and what tail it has."""
    trace, pass_s = played.trace, played.pass_s
    window_s, tail_s = played.window_s(asked), asked.tail_s
    if asked.loop and abs(window_s / pass_s - 1) > SAME:
        trace = trace.repeated(math.ceil((window_s + tail_s) / pass_s * (1 - SAME)))
    span_s = trace.duration_s
    if window_s >= span_s * (1 - SAME):
        # All of it is the window. A window is half-open, and the last arrival may be at its end.
        window_s = max(window_s, math.nextafter(trace.arrival_s.max(initial=0.0), math.inf))
        trace, tail_s = replace(trace, duration_s=window_s), 0.0
    elif window_s + tail_s >= span_s:
        tail_s = span_s - window_s
    else:
        trace = trace.window(0.0, window_s + tail_s)
    seed = None if played.rate_by == "time" else asked.seed_or_0
    return _resolved(trace, window_s, tail_s, played.load, asked, seed=seed, played=played)


def _drawn_from(
    played: _Played, asked: _Asked, draws: int, block_s: float | None, first: int
) -> list[ResolvedTrace]:
    """Steps 4 to 6 for several draws from a listed trace."""
    window_s, tail_s, seed = played.window_s(asked), asked.tail_s, asked.seed_or_0
    stop = first + draws
    if stop * window_s <= played.pass_s * (1 + SAME):
        tail_s = min(tail_s, max(0.0, played.pass_s / stop - window_s))
    return [
        _resolved(draw, window_s, tail_s, played.load, asked, seed=seed, played=played)
        for draw in draws_of(played.trace, draws, seed, window_s + tail_s, block_s, first=first)
    ]


def _resolved(
    trace: Trace,
    window_s: float,
    tail_s: float,
    load: Load,
    asked: _Asked,
    *,
    seed: int | None,
    played: _Played | None = None,
) -> ResolvedTrace:
    loops, pass_s = 1, None
    if played is not None and window_s > played.pass_s * (1 + SAME):
        pass_s = played.pass_s
        loops = math.ceil(window_s / pass_s * (1 - SAME))
    resolved = ResolvedTrace(
        trace=trace,
        window_s=window_s,
        tail_s=tail_s,
        rate_rps=load.rate_rps,
        utilization=load.utilization,
        peak_rps=load.peak_rps,
        seed=seed,
        time_scale=asked.time_scale,
        rate_by=None if played is None else played.rate_by,
        loops=loops,
        pass_s=pass_s,
    )
    if not resolved.requests:
        raise TraceError(
            f"{trace.name} must have arrivals in its window, but got none in {window_s:.12g} s at "
            f"{resolved.offered_rps:.6g} req/s: give a higher --rate or a longer --duration"
        )
    return resolved


def _check_start(spec: ListedTrace) -> None:
    first_s = float(spec.trace.arrival_s[0])
    if first_s >= LATEST_START_S:
        raise TraceError(
            f"arrival_s must count from the start of {spec.trace.name}, but its first arrival is "
            f"at {first_s:.12g} s, as of a date: subtract that, or list the dates in a CSV file"
        )


def _rounded_down(value: float) -> str:
    """Four digits, and not more than `value`: whoever follows the advice must get there."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    # A little is added for values like 0.5999999999, which stand for 0.6; SAME forgives it.
    return f"{math.floor(value / step + 1e-7) * step:.12g}"
