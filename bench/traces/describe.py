"""What a trace is like, in words: for the terminal and for the page alike."""

from itertools import groupby
from typing import TYPE_CHECKING

from results import format as fmt

if TYPE_CHECKING:
    from workloads.statistics import Scale, TraceStatistics

LIKE, BURSTIER, SMOOTHER = "like Poisson", "burstier than Poisson", "smoother than Poisson"
# A difference that matters, and one that is no accident of the sample.
LEAST_DIFFERENCE, LEAST_ERRORS = 0.1, 3.0


def burstiness(scales: "tuple[Scale, ...]") -> str | None:
    """Say at which lengths the counts vary more, or less, than those of a Poisson process.

    A length counts as different from 10 % and three standard errors on. Where the difference is
    larger than 10 % but within three errors, it is taken to be as at the length before.

    Returns:
        None without any scale at which arrivals were counted.
    """
    seen = [scale for scale in scales if scale.dispersion is not None]
    if not seen:
        return None
    kinds: list[str] = []
    for scale in seen:
        kinds.append(_kind(scale) or (kinds[-1] if kinds else LIKE))
    runs = [
        (kind, [scale.span_s for _, scale in group])
        for kind, group in groupby(zip(kinds, seen, strict=True), key=lambda pair: pair[0])
    ]
    if len(runs) == 1:
        kind, spans = runs[0]
        return f"{kind} {_where(spans)}"
    texts = []
    for number, (kind, spans) in enumerate(runs):
        if number == 0:
            texts.append(f"{kind} up to {fmt.tick(spans[-1])}")
        elif number == len(runs) - 1:
            texts.append(f"{kind} at {fmt.tick(spans[0])} and above")
        else:
            texts.append(f"{kind} {_where(spans)}")
    return ", ".join(texts)


def _where(spans: list[float]) -> str:
    if len(spans) == 1:
        return f"at {fmt.tick(spans[0])}"
    return f"from {fmt.tick(spans[0])} to {fmt.tick(spans[-1])}"


def _kind(scale: "Scale") -> str | None:
    difference = (scale.dispersion or 0.0) - 1.0
    if abs(difference) < LEAST_DIFFERENCE:
        return LIKE
    if abs(difference) < LEAST_ERRORS * (scale.dispersion_error or 0.0):
        return None
    return BURSTIER if difference > 0.0 else SMOOTHER


def headline(statistics: "TraceStatistics") -> str:
    """Return one sentence on the trace."""
    size = f"{fmt.count(statistics.requests)} requests in {fmt.duration(statistics.duration_s)}"
    shape = burstiness(statistics.scales)
    return f"{size}; {shape or _unknown(statistics)}"


def rows(statistics: "TraceStatistics") -> list[tuple[str, str]]:
    """Return what the terminal shows: a name and a text each."""
    shown = [
        (
            "requests",
            f"{fmt.count(statistics.requests)} in {fmt.duration(statistics.duration_s)}, "
            f"{fmt.rate(statistics.rate_rps)}",
        )
    ]
    gaps = statistics.gaps
    if gaps:
        cv = f"{variation(gaps.cv)} (Poisson: 1)"
        text = ", ".join(
            f"{name} {fmt.duration(value)}"
            for name, value in (
                ("mean", gaps.mean_s),
                ("p50", gaps.quantiles_s["p50"]),
                ("p99", gaps.quantiles_s["p99"]),
                ("max", gaps.max_s),
            )
        )
        shown.append(("gaps", f"{text}; CV {cv}"))
        if gaps.simultaneous > 0.0:
            shown.append(("at once", f"{fmt.percent(gaps.simultaneous)} of the gaps are 0"))
    if statistics.resolution_s is not None:
        shown.append(("resolution", resolution(statistics.resolution_s)))
    shown += _count_rows(statistics)
    for name, tokens in statistics.tokens.items():
        quantiles = tokens.quantiles
        shown.append(
            (
                name.replace("_tokens", " tokens"),
                f"mean {fmt.number(tokens.mean)}, p50 {fmt.count(quantiles['p50'])}, "
                f"p99 {fmt.count(quantiles['p99'])}, max {fmt.count(tokens.max)}",
            )
        )
    return shown


def resolution(step_s: float) -> str:
    """Return what it means that arrivals are known to steps of so many seconds."""
    return f"times are in steps of {fmt.duration(step_s)}: what lies within one is not known"


def _unknown(statistics: "TraceStatistics") -> str:
    """Why nothing is said of how bursty the trace is."""
    if statistics.resolution_s is not None:
        return f"too short, in steps of {fmt.duration(statistics.resolution_s)}, to say how bursty"
    return "too few to say how bursty"


def variation(cv: float | None) -> str:
    """Return a coefficient of variation; one that is only rounding is 0."""
    return "not defined" if cv is None else fmt.number(round(cv, 6))


def _count_rows(statistics: "TraceStatistics") -> list[tuple[str, str]]:
    shape = burstiness(statistics.scales)
    if shape is None:
        return [("counts", _unknown(statistics))]
    decades = [scale for scale in statistics.scales if _is_decade(scale.span_s)]
    dispersion = ", ".join(
        f"{fmt.number(scale.dispersion)} in {fmt.tick(scale.span_s)}" for scale in decades
    )
    peaks = ", ".join(
        f"x {fmt.number(scale.peak_to_mean)} in {fmt.tick(scale.span_s)}" for scale in decades
    )
    shown = [
        ("counts", shape),
        ("dispersion", f"{dispersion} (Poisson: 1)"),
        ("peak / mean", peaks),
    ]
    memory = statistics.autocorrelation
    if memory:
        span = fmt.tick(memory.span_s)
        until = memory.correlated_s
        reach = len(memory.values) * memory.span_s
        if until == memory.span_s:
            text = f"counts in {span} tell nothing of the next"
        elif until is None:
            text = f"counts in {span} are correlated over {fmt.duration(reach)} and more"
        else:
            text = f"counts in {span} are correlated over {fmt.duration(until)}"
        shown.append(("memory", text))
    return shown


def _is_decade(span_s: float) -> bool:
    return f"{span_s:e}".startswith("1.000000")


def scale_table(statistics: "TraceStatistics") -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of all window lengths."""
    head = ["window", "windows", "mean count", "peak", "peak / mean", "dispersion", "± error"]
    body = [
        [
            fmt.tick(scale.span_s),
            fmt.count(scale.windows),
            fmt.number(scale.mean),
            fmt.count(scale.peak),
            fmt.number(scale.peak_to_mean),
            fmt.number(scale.dispersion),
            fmt.number(scale.dispersion_error),
        ]
        for scale in statistics.scales
    ]
    return head, body


def quantile_table(statistics: "TraceStatistics") -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of gaps and tokens."""
    gaps = statistics.gaps
    if gaps is None:
        return [], []
    names = [name.replace("_", ".") for name in gaps.quantiles_s]
    head = ["", "mean", "min", *names, "max"]
    values = [gaps.mean_s, gaps.min_s, *gaps.quantiles_s.values(), gaps.max_s]
    body = [["gaps", *(fmt.duration(value) for value in values)]]
    for name, tokens in statistics.tokens.items():
        numbers = [tokens.min, *tokens.quantiles.values(), tokens.max]
        label = name.replace("_tokens", " tokens")
        body.append([label, fmt.number(tokens.mean), *(fmt.count(value) for value in numbers)])
    return head, body
