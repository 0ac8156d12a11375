"""Which process a trace could be a draw of, and how near it comes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from workloads.errors import ProcessError, TraceError
from workloads.fitting.mmpp import fit_mmpp, measured_logs
from workloads.processes import Gamma, Mmpp, Poisson, as_json
from workloads.specs import DescribedTrace
from workloads.statistics import Scale, scales
from workloads.trace import Times, Trace

Fitted: TypeAlias = Poisson | Gamma | Mmpp
Reason: TypeAlias = Literal["asked for", "simplest", "nearest", "too short"]

# Residuals of a true model are about 1 in units of their noise; 1.5 leaves room for scales that
# err together.
WITHIN_NOISE = 1.5
FEWEST_SCALES = 2
FEWEST_GAPS = 2
DRIFT_PARTS = 10


@dataclass(frozen=True)
class FittedScale:
    """The index of dispersion at one scale, of the trace and of the process.

    Attributes:
        span_s: Length of the windows in seconds.
        measured: IDC of the trace; see `workloads.statistics.Scale`.
        error: Its standard error.
        fitted: IDC of the process, by its formula.
        expected: What the estimate of IDC would give on average in a draw as long as the trace;
            lower than `fitted` where the trace has few windows.
    """

    span_s: float
    measured: float
    error: float
    fitted: float
    expected: float

    @property
    def ratio(self) -> float | None:
        """`expected` / `measured`: like with like. None for evenly spaced arrivals."""
        return self.expected / self.measured if self.measured > 0 else None


@dataclass(frozen=True)
class Candidate:
    """One process that was tried.

    Attributes:
        process: With the parameters that fit best.
        distance: Root mean square over the scales of log(expected / measured) / noise, the noise
            being the standard error of log IDC, or 0.03 where that is smaller. About 1 for the
            process the trace was drawn from.
    """

    process: Fitted
    distance: float


@dataclass(frozen=True)
class Fit:
    """A process fitted to a trace.

    Attributes:
        process: The process chosen.
        rate_rps: Its mean rate, that of the trace, in requests per second.
        reason: Why this one: it was asked for; it is the simplest of those within noise of the
            measured dispersion (distance at most 1.5; Poisson is simpler than gamma, gamma than
            MMPP); none is, and it is the nearest; or the trace is too short to tell, and only
            its rate is known.
        candidates: All that were tried, the simplest first.
        scales: The dispersion of both, from short windows to long ones.
        gap_cv: Coefficient of variation of the gaps of the trace; None where it has none.
        drift: Standard deviation of the counts in tenths of the trace / what the process leads
            to expect; far above 1 where the rate changed more over the trace than any draw
            would. None where nothing is known of it.
    """

    process: Fitted
    rate_rps: float
    reason: Reason
    candidates: tuple[Candidate, ...]
    scales: tuple[FittedScale, ...]
    gap_cv: float | None
    drift: float | None

    @property
    def fitted_gap_cv(self) -> float:
        """Coefficient of variation of the gaps of the process, by its formula."""
        return self.process.gap_cv(self.rate_rps)

    @property
    def distance(self) -> float | None:
        """How far the chosen process is from the trace; see `Candidate`."""
        own = [c.distance for c in self.candidates if c.process is self.process]
        return own[0] if own else None

    def described(self, *, duration_s: float, seed: int, name: str) -> DescribedTrace:
        """The process as a trace to be drawn."""
        return DescribedTrace(
            process=self.process,
            rate_rps=self.rate_rps,
            duration_s=duration_s,
            seed=seed,
            name=name,
        )

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; what is not known is None."""
        return {
            "process": as_json(self.process),
            "rate_rps": self.rate_rps,
            "reason": self.reason,
            "distance": self.distance,
            "candidates": [
                {"process": as_json(c.process), "distance": c.distance} for c in self.candidates
            ],
            "gap_cv": {"measured": self.gap_cv, "fitted": self.fitted_gap_cv},
            "drift": self.drift,
            "dispersion": [asdict(scale) | {"ratio": scale.ratio} for scale in self.scales],
        }


def fit(trace: Trace, process: str = "auto") -> Fit:
    """Fit a process of the kind asked for, or choose between them; see `Fit.reason`.

    Poisson takes the rate of the trace. Gamma takes the coefficient of variation of its gaps
    too, within 0.01 and 100. MMPP is fitted to the dispersion of the counts, see `fit_mmpp`.

    Args:
        trace: At least one request, over some time.
        process: "auto", or one of FITTED.

    Raises:
        ProcessError: No such process.
        TraceError: A trace without a rate, or too short for what was asked.
    """
    if process != "auto" and process not in FITTED:
        raise ProcessError(f"process must be one of auto, {', '.join(FITTED)}, but got {process!r}")
    if not trace.rate_rps > 0:
        raise TraceError(
            f"a process can be fitted only to requests that span some time, but {trace.name} has "
            f"{len(trace)} over {trace.duration_s:.12g} s"
        )
    measured = tuple(scale for scale in scales(trace) if scale.dispersion is not None)
    # Of gaps that are not known, no gamma process can be made.
    known = [kind for kind in FITTED if kind != Gamma.kind or trace.has_gaps]
    kinds = known if process == "auto" else [process]
    has_shape = not (trace.has_gaps and math.isnan(trace.cv))
    if process == "auto" and (len(measured) < FEWEST_SCALES or not has_shape):
        return _described(trace, Poisson(), "too short", (), measured)
    tried = []
    for kind in kinds:
        found = FITTED[kind](trace, measured)
        tried.append(Candidate(found, _distance(found, trace.rate_rps, measured)))
    if process != "auto":
        return _described(trace, tried[0].process, "asked for", tuple(tried), measured)
    within = [candidate for candidate in tried if candidate.distance <= WITHIN_NOISE]
    best = within[0] if within else min(tried, key=lambda candidate: candidate.distance)
    reason: Reason = "simplest" if within else "nearest"
    return _described(trace, best.process, reason, tuple(tried), measured)


def _poisson(_trace: Trace, _measured: Sequence[Scale]) -> Fitted:
    return Poisson()


def _gamma(trace: Trace, _measured: Sequence[Scale]) -> Fitted:
    if len(trace) > 1 and not trace.has_gaps:
        raise TraceError(
            f"a gamma process needs the gaps between requests, but {trace.name} has times in steps "
            f"of {trace.resolution_s:g} s, which hold several: --process mmpp goes by its counts"
        )
    if math.isnan(trace.cv):
        raise TraceError(
            f"a gamma process needs {FEWEST_GAPS + 1} requests or more that do not all arrive at "
            f"once, but {trace.name} has {len(trace)}"
        )
    return Gamma(min(max(trace.cv, 0.01), 100.0))


def _mmpp(trace: Trace, measured: Sequence[Scale]) -> Fitted:
    if len(measured) < FEWEST_SCALES:
        raise TraceError(
            f"an MMPP needs counts in 30 windows or more at {FEWEST_SCALES} lengths, but the "
            f"{len(trace)} requests of {trace.name} over {trace.duration_s:.6g} s give "
            f"{len(measured)}"
        )
    return fit_mmpp(tuple(measured), trace.rate_rps)


# From the simplest to the richest; `auto` prefers the former.
FITTED: dict[str, Callable[[Trace, Sequence[Scale]], Fitted]] = {
    Poisson.kind: _poisson,
    Gamma.kind: _gamma,
    Mmpp.kind: _mmpp,
}


def _described(
    trace: Trace,
    process: Fitted,
    reason: Reason,
    tried: tuple[Candidate, ...],
    measured: Sequence[Scale],
) -> Fit:
    rate_rps = trace.rate_rps
    fitted, expected = _curves(process, rate_rps, measured)
    rows = tuple(
        FittedScale(
            span_s=scale.span_s,
            measured=scale.dispersion or 0.0,
            error=scale.dispersion_error or 0.0,
            fitted=float(exact),
            expected=float(likely),
        )
        for scale, exact, likely in zip(measured, fitted, expected, strict=True)
    )
    return Fit(
        process=process,
        rate_rps=rate_rps,
        reason=reason,
        candidates=tried,
        scales=rows,
        gap_cv=None if math.isnan(trace.cv) else trace.cv,
        drift=_drift(trace, process),
    )


def _curves(process: Fitted, rate_rps: float, measured: Sequence[Scale]) -> tuple[Times, Times]:
    """IDC of the process at each scale, and the mean of its estimate from as many windows.

    s^2 of m windows is on average m / (m - 1) (Var N(t) - Var(N(m t)) / m^2).
    """
    span_s = np.array([scale.span_s for scale in measured])
    windows = np.array([scale.windows for scale in measured])
    curve = np.array([process.count_dispersion(rate_rps, t) for t in span_s.tolist()])
    whole = np.array([process.count_dispersion(rate_rps, t) for t in (span_s * windows).tolist()])
    expected: Times = np.maximum(0.0, windows / (windows - 1) * (curve - whole / windows))
    return curve, expected


def _distance(process: Fitted, rate_rps: float, measured: Sequence[Scale]) -> float:
    if not measured:
        return math.nan
    logs, noise = measured_logs(tuple(measured))
    _, expected = _curves(process, rate_rps, measured)
    residuals = (np.log(np.maximum(expected, 0.01)) - logs) / noise
    return float(np.sqrt(np.mean(residuals**2)))


def _drift(trace: Trace, process: Fitted) -> float | None:
    edges_s = np.linspace(0, trace.duration_s, DRIFT_PARTS + 1)
    counts = np.diff(np.searchsorted(trace.arrival_s, edges_s))
    if counts.sum() < 10 * DRIFT_PARTS:
        return None
    part_s = trace.duration_s / DRIFT_PARTS
    part, whole = (
        process.count_dispersion(trace.rate_rps, span_s) for span_s in (part_s, trace.duration_s)
    )
    variance = counts.mean() * DRIFT_PARTS / (DRIFT_PARTS - 1) * (part - whole / DRIFT_PARTS)
    return float(counts.std(ddof=1) / math.sqrt(variance)) if variance > 0 else None
