"""What a fit reproduces of a trace and what not, in words."""

import math
from itertools import groupby
from typing import TYPE_CHECKING

from bench.traces.describe import variation
from results import format as fmt

if TYPE_CHECKING:
    from workloads import Trace
    from workloads.fitting import Fit, FittedScale

LEAST_RATIO, LEAST_ERRORS = 1.2, 2.0
LEAST_GAP_RATIO = 1.1
EVEN = 0.01
LEAST_DRIFT = 1.7
FEWEST_CYCLES = 30
LEAST_SIMULTANEOUS = 1e-3
LEAST_VARIANCE = 1e-4
_REASONS = {
    "asked for": "as asked",
    "simplest": "the simplest of those that are within noise of the trace",
    "nearest": "the nearest of those tried, though not within noise of the trace",
    "too short": "the trace is too short to tell more than its rate",
}


def process_line(fit: "Fit") -> str:
    """Return the process and its parameters: mmpp, burst_factor 2.5, burst_s 0.1, ..."""
    from workloads.processes import as_json

    values = as_json(fit.process)
    kind = values.pop("process")
    parameters = [f"{name} {value:.4g}" for name, value in values.items()]
    return ", ".join([f"{kind} at {fmt.rate(fit.rate_rps)}", *parameters])


def reason_line(fit: "Fit") -> str:
    """Return why this process, with the distances of all that were tried."""
    distances = ", ".join(
        f"{candidate.process.kind} {fmt.number(candidate.distance)}"
        for candidate in fit.candidates
        if math.isfinite(candidate.distance)
    )
    why = _REASONS[fit.reason]
    return f"{why}; distance in units of the noise: {distances}" if distances else why


def gap_line(fit: "Fit") -> str:
    """Return the CV of the gaps of both."""
    return f"{variation(fit.gap_cv)} in the trace, {variation(fit.fitted_gap_cv)} of the process"


def dispersion_table(fit: "Fit") -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of both dispersions."""
    head = ["window", "trace", "± error", "process", "a draw as long", "ratio"]
    body = [
        [
            fmt.tick(scale.span_s),
            fmt.number(scale.measured),
            fmt.number(scale.error),
            fmt.number(scale.fitted),
            fmt.number(scale.expected),
            "not defined" if scale.ratio is None else f"{scale.ratio:.2f}",
        ]
        for scale in fit.scales
    ]
    return head, body


def shortcomings(trace: "Trace", fit: "Fit") -> list[str]:
    """Return what the process does not reproduce of the trace, a sentence each."""
    found = [*_dispersion(fit), *_gaps(trace, fit), *_slow(trace, fit)]
    if trace.input_tokens is not None or trace.output_tokens is not None:
        found.append("Token counts are not part of a process: the fitted trace has none.")
    return found


def _dispersion(fit: "Fit") -> list[str]:
    found = []
    for kind, group in groupby(fit.scales, key=_missed):
        if kind is None:
            continue
        spans = list(group)
        ratios = [scale.ratio for scale in spans if scale.ratio is not None]
        first, last = fmt.tick(spans[0].span_s), fmt.tick(spans[-1].span_s)
        where = f"at {first}" if len(spans) == 1 else f"from {first} to {last}"
        worst = (
            max(ratios, key=lambda ratio: abs(math.log(ratio)), default=None)
            if all(ratio > 0.0 for ratio in ratios)
            else None
        )
        by = "" if worst is None else f" (dispersion x {worst:.2f} at worst)"
        found.append(f"The counts of a draw vary {kind} than those of the trace {where}{by}.")
    return found


def _missed(scale: "FittedScale") -> str | None:
    """Whether a draw varies "more" or "less" at this scale, by more than noise and by 20 %."""
    apart = abs(scale.expected - scale.measured)
    near = scale.ratio is not None and 1 / LEAST_RATIO <= scale.ratio <= LEAST_RATIO
    if near or apart <= LEAST_ERRORS * scale.error or apart < 1e-9:
        return None
    return "more" if scale.expected > scale.measured else "less"


def _gaps(trace: "Trace", fit: "Fit") -> list[str]:
    import numpy as np

    found = []
    if trace.resolution_s is not None:
        found.append(
            f"Times are known in steps of {fmt.duration(trace.resolution_s)}: how the requests of "
            "a draw lie within one is the process's, not the trace's."
        )
        if not trace.has_gaps:
            return found
    if fit.gap_cv is not None:
        low, high = sorted((fit.gap_cv, fit.fitted_gap_cv))
        if high > LEAST_GAP_RATIO * low + 1e-3:
            found.append(
                f"The gaps of the trace have a CV of {variation(fit.gap_cv)}, those of the "
                f"process of {variation(fit.fitted_gap_cv)}."
            )
        if fit.gap_cv < EVEN:
            found.append("The gaps are all but equal: a constant process describes them better.")
    simultaneous = float(np.mean(np.diff(trace.arrival_s) == 0)) if len(trace) > 1 else 0.0
    if simultaneous > LEAST_SIMULTANEOUS:
        found.append(
            f"{fmt.percent(simultaneous)} of the requests arrive at the very instant of the one "
            "before; in a draw none do."
        )
    return found


def _slow(trace: "Trace", fit: "Fit") -> list[str]:
    from workloads import Mmpp

    found = []
    if fit.drift is not None and fit.drift > LEAST_DRIFT:
        found.append(
            f"The rate of the trace drifts: counts in tenths of it vary {fmt.number(fit.drift)} "
            "times as much as the process leads to expect."
        )
    if fit.scales:
        longest_s = fit.scales[-1].span_s
        found.append(
            f"What varies more slowly than {fmt.tick(longest_s)} could not be measured in "
            f"{fmt.duration(trace.duration_s)}, and a daily rhythm is not in the process."
        )
    process = fit.process
    if isinstance(process, Mmpp) and process.intensity_variance > LEAST_VARIANCE:
        cycles = trace.duration_s / (process.burst_s + process.calm_s)
        if cycles < FEWEST_CYCLES:
            found.append(
                f"The trace holds only about {fmt.number(cycles)} of the process's bursts, of "
                f"{fmt.duration(process.burst_s)} on average: another recording could give quite "
                "other ones."
            )
    return found
