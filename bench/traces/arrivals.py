"""What is replayed of a trace: at which load, how long, and what follows the measured window."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import InputError
from bench.settings import ReplaySettings
from workloads import DescribedTrace, ListedTrace, ResolvedTrace
from workloads import resolve as resolve_trace
from workloads import resolve_draws as resolve_draws_of_trace

Spec = DescribedTrace | ListedTrace

# Arrivals go on past the window's end by a tenth of it, at most this long.
TAIL_SHARE, TAIL_MIN_S, TAIL_MAX_S = 0.1, 0.25, 2.0
# Of a recording that is to be drawn from and nobody said for how long.
LONGEST_DRAW_S = 60.0


def tail_s(window_s: float | None) -> float:
    """How long arrivals go on past the window's end, to keep its last requests under load."""
    return min(max((window_s or 0.0) * TAIL_SHARE, TAIL_MIN_S), TAIL_MAX_S)


def utilizations(text: str | None) -> tuple[float, ...]:
    """Read '0.5,0.7,0.9'.

    Raises:
        InputError: that is no list of numbers, or one is there twice.
    """
    if text is None:
        return ()
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"utilization must be a number, or several with commas between, but got {text!r}"
        ) from None
    for share in shares:
        if not 0.0 < share < float("inf"):
            raise InputError(f"utilization must be greater than 0, but got {text!r}")
    if len(set(shares)) < len(shares):
        raise InputError(f"utilization must name each load once, but got {text!r}")
    return shares


def resolve(spec: Spec, replay: ReplaySettings, peak_rps: Callable[[], float]) -> ResolvedTrace:
    """Draw or cut the arrivals.

    Args:
        spec: what the trace file holds.
        replay: the load.
        peak_rps: what all replicas can serve together, which a utilization is a share of; asked
            only where there is one.

    Raises:
        WorkloadError: the trace cannot be played as asked.
    """
    return resolve_trace(
        spec,
        rate_rps=replay.rate,
        utilization=replay.utilization,
        peak_rps=peak_rps,
        **_common(spec, replay),
    )


def draws_like(
    first: ResolvedTrace, spec: Spec, replay: ReplaySettings, count: int
) -> list[ResolvedTrace]:
    """Several draws, all at the load that was resolved for the first.

    Raises:
        WorkloadError: the trace cannot be drawn that often, or not at that length.
    """
    drawn = resolve_draws_of_trace(spec, count, rate_rps=first.rate_rps, **_common(spec, replay))
    return [replace(draw, utilization=first.utilization, peak_rps=first.peak_rps) for draw in drawn]


@dataclass(frozen=True)
class Draws:
    """Several draws of one workload at any load.

    Args:
        spec: what the trace file holds.
        replay: how it is played; its rate and utilization are left aside.
        count: draws at each load, >= 1.
    """

    spec: Spec
    replay: ReplaySettings
    count: int

    def __call__(self, offered_rps: float) -> list[ResolvedTrace]:
        """The draws at that load, from the same seeds whatever it is.

        Where no duration is asked for, the draws of a recording are disjoint parts of it: as long
        as there is room for, up to a minute each.

        Raises:
            WorkloadError: the trace cannot be played so.
        """
        common = _common(self.spec, self.replay)
        rate_rps = offered_rps * self.replay.time_scale
        if isinstance(self.spec, ListedTrace) and self.replay.duration is None:
            whole = resolve_trace(self.spec, rate_rps=rate_rps, **common)
            window_s = min(whole.window_s / self.count, LONGEST_DRAW_S)
            common |= {"duration_s": window_s, "tail_s": min(common["tail_s"], window_s)}
        return resolve_draws_of_trace(self.spec, self.count, rate_rps=rate_rps, **common)


def own_load_rps(spec: Spec, replay: ReplaySettings) -> float | None:
    """The load that the settings or the trace itself name in requests per second, if they do."""
    rate_rps = replay.rate
    if rate_rps is None:
        rate_rps = spec.trace.rate_rps if isinstance(spec, ListedTrace) else spec.rate_rps
    return None if rate_rps is None else rate_rps / replay.time_scale


def length_s(spec: Spec, replay: ReplaySettings) -> float | None:
    """The window asked for, or else that of the trace file; None for all of a recording."""
    if replay.duration is None and isinstance(spec, DescribedTrace):
        return spec.duration_s
    return replay.duration


def _common(spec: Spec, replay: ReplaySettings) -> dict[str, Any]:
    """What is the same for one draw and for several."""
    return {
        "time_scale": replay.time_scale,
        "duration_s": replay.duration,
        "tail_s": tail_s(length_s(spec, replay)),
        "seed": replay.seed,
        "match_load": replay.match_load,
        "rate_by": replay.rate_by,
        "loop": replay.loop,
    }
