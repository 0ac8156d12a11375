"""From a trace file and the options of a command to the arrivals of one run.

The options apply in this order:

1. Load. The mean rate, in requests per second: the caller's rate_rps, or the caller's
   utilization x peak_rps, or what the file says; a listed trace plays at its own rate where
   nothing else is asked. Loads scale rates: a described trace keeps the length of its bursts.
   A listed one has only its arrivals, so its whole time axis is stretched.
2. Time scale k. Every time is multiplied by k, bursts included; the mean rate becomes rate / k.
   A described trace is drawn over 1 / k of the time, so that the result has the asked length.
3. Matched load, for a described trace and if asked for: time is stretched a little, so that the
   window holds exactly rate x duration requests, rounded (see workloads.matching).
4. Duration. The first duration_s of the result are the measured window, by default as long as
   the file says, and a listed trace as long as it is.
5. Tail. Up to tail_s more seconds of arrivals follow the window, to keep its end under load.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.checks import not_negative, positive
from workloads.errors import TraceError
from workloads.specs import DescribedTrace, ListedTrace, check_seed
from workloads.trace import Trace

# Two durations this close (relative) are one duration that went through some arithmetic.
SAME = 1e-9

# Nobody waits three years for a first request; a date in seconds since 1970 is ten times this.
LATEST_START_S = 1e8


@dataclass(frozen=True)
class ResolvedTrace:
    """The arrivals of one run, and how they came about.

    Attributes:
        trace: The window and, after it, the tail.
        window_s: Length of the measured window in seconds; it is [0, window_s).
        tail_s: Length of the tail in seconds; what a listed trace had left, at most what was
            asked.
        rate_rps: Mean rate of the process or recording before the time scale.
        utilization: rate_rps / peak_rps where the load was given so, else None.
        peak_rps: The highest rate the system can serve, where it was needed, else None.
        seed: Seed of the draw; None for a listed trace.
        time_scale: What all times were multiplied by.
    """

    trace: Trace
    window_s: float
    tail_s: float
    rate_rps: float
    utilization: float | None
    peak_rps: float | None
    seed: int | None
    time_scale: float

    @property
    def offered_rps(self) -> float:
        """Mean rate offered, in requests per second: rate_rps / time_scale."""
        return self.rate_rps / self.time_scale

    @property
    def requests(self) -> int:
        """Number of requests in the window."""
        return int(np.searchsorted(self.trace.arrival_s, self.window_s))

    def describe(self) -> dict[str, Any]:
        """What identifies these arrivals, as JSON-able values.

        `window_rate_rps` and `window_cv` are those of the arrivals in the window, and differ
        from `offered_rps` and from the formula of the process by chance. `match_factor` is what
        all times were multiplied by to match the load, None where that was not asked for. The
        fingerprint covers the tail too.
        """
        window = replace(
            self.trace,
            arrival_s=self.trace.arrival_s[: self.requests],
            duration_s=self.window_s,
            input_tokens=None,
            output_tokens=None,
        )
        return {
            "name": self.trace.name,
            "kind": self.trace.source["kind"],
            "path": self.trace.source.get("path"),
            "format": self.trace.source.get("format"),
            "notes": list(self.trace.source.get("notes", ())),
            "process": self.trace.source.get("process"),
            "seed": self.seed,
            "sha256": self.trace.fingerprint(),
            "requests": self.requests,
            "tail_requests": len(self.trace) - self.requests,
            "rate_rps": self.rate_rps,
            "offered_rps": self.offered_rps,
            "window_rate_rps": window.rate_rps,
            "window_cv": None if math.isnan(window.cv) else window.cv,
            "window_s": self.window_s,
            "tail_s": self.tail_s,
            "time_scale": self.time_scale,
            "match_factor": self.trace.source.get("match_factor"),
            "utilization": self.utilization,
            "peak_rps": self.peak_rps,
        }


@dataclass(frozen=True)
class _Load:
    rate_rps: float
    utilization: float | None = None
    peak_rps: float | None = None


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
) -> ResolvedTrace:
    """Apply a command's options to a trace file, in the order of the module's docstring.

    Args:
        spec: What `load` read.
        rate_rps: Mean rate to play at; excludes `utilization`.
        time_scale: Factor on all times, > 0; 2 plays half as fast.
        duration_s: Length of the measured window in seconds.
        tail_s: How many seconds of arrivals should follow the window.
        seed: Seed instead of the file's; a listed trace has none and ignores it.
        peak_rps: Measures the highest rate the system can serve. Called at most once, and only
            if the load is a utilization.
        utilization: Load as a share of that rate.
        match_load: Whether the window must hold exactly rate x duration requests, instead of
            what the file says; described traces only.

    Raises:
        WorkloadError: An option out of range, rate and utilization together, a utilization
            without peak_rps, a recording shorter than asked, or a window without arrivals.
    """
    positive("time_scale", time_scale, TraceError)
    not_negative("tail_s", tail_s, TraceError)
    if duration_s is not None:
        positive("duration_s", duration_s, TraceError)
    if seed is not None:
        check_seed(seed)
    if match_load and isinstance(spec, ListedTrace):
        raise TraceError(
            f"--match-load must go with a described trace, but {spec.trace.name} lists its "
            "arrivals: give a --rate and play all of it"
        )
    load = _load(spec, rate_rps, utilization, peak_rps)
    if isinstance(spec, DescribedTrace):
        seed = spec.seed if seed is None else seed
        window_s = spec.duration_s if duration_s is None else duration_s
        if match_load is not None:
            spec = replace(spec, match_load=match_load)
        trace = _draw(spec, load.rate_rps, time_scale, window_s=window_s, tail_s=tail_s, seed=seed)
    else:
        seed = None
        trace, window_s, tail_s = _cut(spec, load.rate_rps, time_scale, duration_s, tail_s)
    resolved = ResolvedTrace(
        trace=trace,
        window_s=window_s,
        tail_s=tail_s,
        rate_rps=load.rate_rps,
        utilization=load.utilization,
        peak_rps=load.peak_rps,
        seed=seed,
        time_scale=time_scale,
    )
    if not resolved.requests:
        raise TraceError(
            f"{trace.name} must have arrivals in its window, but got none in {window_s:.12g} s at "
            f"{resolved.offered_rps:.6g} req/s: give a higher --rate or a longer --duration"
        )
    return resolved


def _load(
    spec: DescribedTrace | ListedTrace,
    rate_rps: float | None,
    utilization: float | None,
    peak_rps: Callable[[], float] | None,
) -> _Load:
    """Step 1; the caller's wishes go before the file's."""
    if rate_rps is not None and utilization is not None:
        raise TraceError(
            f"one of --rate and --utilization must be given, but got both "
            f"({rate_rps:.6g} req/s and {utilization:.12g})"
        )
    if isinstance(spec, ListedTrace):
        # Asked for first, since a trace that spans no time has none at any load.
        own_rps = _own_rate(spec)
        if rate_rps is None and utilization is None:
            return _Load(own_rps)
    elif rate_rps is None and utilization is None:
        rate_rps, utilization = spec.rate_rps, spec.utilization
    if rate_rps is not None:
        positive("rate_rps", rate_rps, TraceError)
        return _Load(rate_rps)
    assert utilization is not None  # noqa: S101 - a described trace has one of the two
    positive("utilization", utilization, TraceError)
    if peak_rps is None:
        raise TraceError(
            f"a load of utilization {utilization:.12g} must come with the highest rate the system "
            f"can serve, but nothing was measured: give a --rate instead"
        )
    peak = peak_rps()
    positive("peak_rps", peak, TraceError)
    return _Load(utilization * peak, utilization, peak)


def _own_rate(spec: ListedTrace) -> float:
    trace = spec.trace
    if not trace.duration_s > 0:
        raise TraceError(
            f"{trace.name} must span some time to have a rate, but all its arrivals are at 0 s: "
            "give it a duration_s"
        )
    return trace.rate_rps


def _draw(
    spec: DescribedTrace,
    rate_rps: float,
    time_scale: float,
    *,
    window_s: float,
    tail_s: float,
    seed: int,
) -> Trace:
    """Steps 2 to 5 for a described trace: a draw that is as long as asked once it is scaled."""
    trace = spec.draw(rate_rps, window_s / time_scale, seed, tail_s=tail_s / time_scale)
    trace = trace.scaled(time_scale)
    # There and back again may have moved the end by one rounding.
    return replace(
        trace, duration_s=max(window_s + tail_s, float(trace.arrival_s.max(initial=0.0)))
    )


def _cut(
    spec: ListedTrace,
    rate_rps: float,
    time_scale: float,
    duration_s: float | None,
    tail_s: float,
) -> tuple[Trace, float, float]:
    """Steps 2, 4, 5 for a listed trace: the trace, its window and what tail it has, in seconds."""
    _check_start(spec)
    trace = spec.trace.at_rate(rate_rps).scaled(time_scale)
    span_s = trace.duration_s
    window_s = span_s if duration_s is None else duration_s
    if window_s > span_s * (1 + SAME):
        raise _too_short(trace, rate_rps, time_scale, window_s)
    if window_s >= span_s * (1 - SAME):
        # All of it is the window. A window is half-open, and the last arrival may be at its end.
        window_s = max(window_s, math.nextafter(trace.arrival_s[-1], math.inf))
        return replace(trace, duration_s=window_s), window_s, 0.0
    if window_s + tail_s >= span_s:
        return trace, window_s, span_s - window_s
    return trace.window(0.0, window_s + tail_s), window_s, tail_s


def _check_start(spec: ListedTrace) -> None:
    first_s = float(spec.trace.arrival_s[0])
    if first_s >= LATEST_START_S:
        raise TraceError(
            f"arrival_s must count from the start of {spec.trace.name}, but its first arrival is "
            f"at {first_s:.12g} s, as of a date: subtract that, or list the dates in a CSV file"
        )


def _too_short(trace: Trace, rate_rps: float, time_scale: float, window_s: float) -> TraceError:
    lasts_s = trace.duration_s
    at = f"{rate_rps:.6g} req/s" + ("" if time_scale == 1 else f" and time scale {time_scale:.12g}")
    return TraceError(
        f"{trace.name} must last {window_s:.12g} s, but its {len(trace):,} requests last "
        f"{_rounded_down(lasts_s)} s at {at}: give a lower --rate "
        f"(at most {_rounded_down(rate_rps * lasts_s / window_s)}) or a shorter --duration "
        f"(at most {_rounded_down(lasts_s)})"
    )


def _rounded_down(value: float) -> str:
    """Four digits, and not more than `value`: whoever follows the advice must get there."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    # A little is added for values like 0.5999999999, which stand for 0.6; SAME forgives it.
    return f"{math.floor(value / step + 1e-7) * step:.12g}"
