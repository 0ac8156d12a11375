"""The arrivals of a simulation, whose load may be a share of what the source can serve."""

from bench.config import ReplaySettings
from bench.errors import InputError
from bench.simulation.loading import Loaded
from bench.trace_source import replay_reading
from workloads import DescribedTrace, ResolvedTrace, load
from workloads import resolve as resolve_trace

# As in a run: arrivals go on past the window's end by a tenth of it, at most this long.
TAIL_SHARE, TAIL_MIN_S, TAIL_MAX_S = 0.1, 0.25, 2.0


def tail_s(window_s: float | None) -> float:
    """How long arrivals go on past the window's end, to keep its last requests under load."""
    return min(max((window_s or 0.0) * TAIL_SHARE, TAIL_MIN_S), TAIL_MAX_S)


def utilizations(text: str | None) -> tuple[float, ...]:
    """Read '0.5,0.7,0.9'.

    Raises:
        InputError: that is no list of numbers.
    """
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"utilization must be a number, or several with commas between, but got {text!r}"
        ) from None


def resolve(
    replay: ReplaySettings, loaded: Loaded, replicas: int, *, seed: int | None = None
) -> ResolvedTrace:
    """Draw or cut the arrivals; a utilization is of what the source's replicas can serve.

    Args:
        replay: the load.
        loaded: where the peak rate is from.
        replicas: how many share it.
        seed: draw with this seed instead of the one asked for.

    Raises:
        WorkloadError: the trace cannot be played as asked.
    """
    spec = load(replay.trace, replay_reading(replay))
    window_s = replay.duration
    if window_s is None and isinstance(spec, DescribedTrace):
        window_s = spec.duration_s
    return resolve_trace(
        spec,
        rate_rps=replay.rate,
        utilization=replay.utilization,
        time_scale=replay.time_scale,
        duration_s=replay.duration,
        tail_s=tail_s(window_s),
        seed=replay.seed if seed is None else seed,
        match_load=replay.match_load,
        peak_rps=lambda: replicas * loaded.source.peak_rps,
    )
