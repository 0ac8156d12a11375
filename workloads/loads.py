"""Which mean rate a trace is played at."""

from collections.abc import Callable
from dataclasses import dataclass

from workloads.checks import positive
from workloads.errors import TraceError
from workloads.specs import DescribedTrace, ListedTrace


@dataclass(frozen=True)
class Load:
    """A mean rate, and where it comes from.

    Attributes:
        rate_rps: Requests per second, before the time scale.
        utilization: rate_rps / peak_rps where the load was given so, else None.
        peak_rps: The highest rate the system can serve, where it was needed, else None.
    """

    rate_rps: float
    utilization: float | None = None
    peak_rps: float | None = None


def load_of(
    spec: DescribedTrace | ListedTrace,
    rate_rps: float | None,
    utilization: float | None,
    peak_rps: Callable[[], float] | None,
) -> Load:
    """The load of one command; the caller's wishes go before the file's.

    Raises:
        TraceError: A number out of range, both given, a utilization with nothing to measure the
            peak, or a recording that spans no time.
    """
    if rate_rps is not None and utilization is not None:
        raise TraceError(
            f"one of --rate and --utilization must be given, but got both "
            f"({rate_rps:.6g} req/s and {utilization:.12g})"
        )
    if isinstance(spec, ListedTrace):
        # Asked for first, since a trace that spans no time has none at any load.
        own_rps = _own_rate(spec)
        if rate_rps is None and utilization is None:
            return Load(own_rps)
    elif rate_rps is None and utilization is None:
        rate_rps, utilization = spec.rate_rps, spec.utilization
    if rate_rps is not None:
        positive("rate_rps", rate_rps, TraceError)
        return Load(rate_rps)
    assert utilization is not None  # noqa: S101 - a described trace has one of the two
    positive("utilization", utilization, TraceError)
    if peak_rps is None:
        raise TraceError(
            f"a load of utilization {utilization:.12g} must come with the highest rate the system "
            f"can serve, but nothing was measured: give a --rate instead"
        )
    peak = peak_rps()
    positive("peak_rps", peak, TraceError)
    return Load(utilization * peak, utilization, peak)


def _own_rate(spec: ListedTrace) -> float:
    trace = spec.trace
    if not trace.duration_s > 0:
        raise TraceError(
            f"{trace.name} must span some time to have a rate, but its requests all arrive at the "
            f"same instant ({len(trace)}), and nothing says how long it lasts"
        )
    return trace.rate_rps
