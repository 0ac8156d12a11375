"""What a tuning says in words: the first line, the tables, the notes beside them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, isfinite
from typing import Any

from results import format as fmt
from results.page import Table
from results.tuning.device_record import Measured, VerifiedRecord
from results.tuning.named import (
    arm_name,
    fate_of,
    label_of,
    named_settings,
    objective_of,
    pair_ratios,
    prediction_error,
    shown,
)
from results.tuning.record import Facts, Judged, TuningRecord, sensitivity_rows

_DEVICE = "device_s_per_request"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the answer can be taken at its word, for the first line.

    Attributes:
        word: the gist.
        good: whether there is nothing to be said against it.
        bad: whether it is no answer, or was contradicted.
        reasons: what has to be known, each with what can be done about it.
    """

    word: str
    good: bool
    reasons: tuple[tuple[str, str], ...]
    bad: bool = False


def standing(record: TuningRecord) -> Standing:
    """Return what its reader must know first."""
    verified = record.verified
    reasons: list[tuple[str, str]] = []
    if verified is not None:
        reasons += [
            (f"{finding.runs} of {finding.of} runs on the device not valid: {finding.message}",
             finding.remedy)
            for finding in verified.findings
        ]  # fmt: skip
        if verified.distrust:
            reasons.append((f"the simulation's ranking was not relied on: {verified.distrust}", ""))
        reasons += [(remark, "") for remark in verified.remarks]
    reasons += [(remark, "") for remark in record.remarks]
    if verified is None:
        reasons.append((record.unverified or "not raced on a device", ""))
    if not record.met:
        word = "NO SETTING DOES WHAT WAS ASKED"
        return Standing(word, good=False, reasons=tuple(reasons), bad=True)
    if verified is None:
        word = "by simulation only" if record.simulated else "searched on the device, not raced"
        return Standing(word, good=False, reasons=tuple(reasons))
    if verified.confirmation.draws == 0:
        word = "raced on the device, not confirmed on fresh draws"
        return Standing(word, good=False, reasons=tuple(reasons))
    word = "raced on the device, confirmed on fresh draws"
    missed = verified.confirmation.meets_slo is False
    if missed:
        reasons.insert(0, (f"the winner missed {record.slo} when it was confirmed", ""))
    if reasons:
        return Standing(f"{word}, with caveats", good=False, reasons=tuple(reasons), bad=missed)
    return Standing(word, good=True, reasons=())


def settings_table(record: TuningRecord) -> Table:
    """Return every setting that has a name, as predicted and as measured."""
    verified = record.verified
    named = named_settings(record)
    head = ["", "setting", f"{record.statistic} latency", "device time a request"]
    capacities = record.slo is None or any(n.judged.capacity_rps is not None for n in named)
    if capacities:  # a search on the device works none out
        head.append("capacity" if record.slo is None else "capacity within the SLO")
    if verified is not None and verified.measured:
        head += [f"{record.statistic} measured", "device time measured"]
    rows, bold = [], set()
    for number, one in enumerate(named):
        predicted = _predicted(record, one.judged)
        row = [one.title, label_of(one.judged), *predicted[: 3 if capacities else 2]]
        if verified is not None and verified.measured:
            measured = _measured_of(verified, one.judged.settings)
            row += [_interval(measured.get(record.latency)), _interval(measured.get(_DEVICE))]
        rows.append(row)
        if one.names[0] == "recommended":
            bold.add(number)
    return Table(head, rows, frozenset(bold), list(_settings_notes(record)))


def _predicted(record: TuningRecord, judged: Judged) -> list[str]:
    latency_s, device_s = judged.fact(record.latency), judged.fact(_DEVICE)
    carried = judged.fact("limit_rps") if record.slo is None else judged.capacity_rps
    known = fmt.rate(carried) if carried is not None else "not worked out"
    if carried == 0.0:
        known = "none"
    if latency_s is None and device_s is None:
        return ["cannot carry the load" if judged.fact("limit_rps") else "not known", "", known]
    return [fmt.duration(latency_s), fmt.duration(device_s), known]


def _measured_of(verified: VerifiedRecord, settings: Mapping[str, Any]) -> dict[str, Measured]:
    """What was measured of a setting, whatever it was called in the race."""
    for name, arm in {**verified.arms, **verified.found}.items():
        if arm == settings and name in verified.measured:
            return verified.measured[name]
    return {}


def _interval(measured: Measured | None) -> str:
    """A value with its interval, the unit once where it is the same: 41.0 ms (38.9 to 43.2)."""
    if measured is None:
        return "not raced"
    said = fmt.duration(measured.value)
    if measured.low is None or measured.high is None:
        return said
    ends = [fmt.duration(end) for end in (measured.low, measured.high)]
    unit = f" {said.rpartition(' ')[2]}"
    if all(end.endswith(unit) for end in ends):
        ends = [end.removesuffix(unit) for end in ends]
    return f"{said} ({' to '.join(ends)})"


def _settings_notes(record: TuningRecord) -> Iterator[str]:
    load = fmt.rate(record.offered_rps)
    basis = "simulated" if record.simulated else "measured by the search"
    said = f"Latency, device time and capacity: {basis} under {record.load.get('name')} at {load}"
    if record.slo is None:
        said += "; capacity: what a setting serves with a queue that never empties"
    yield f"{said}."
    verified = record.verified
    if verified is not None and verified.measured:
        stages = sorted({m.stage for arm in verified.measured.values() for m in arm.values()})
        where = " or ".join({"confirm": "confirmation", "race": "race"}.get(s, s) for s in stages)
        yield (
            f"Measured: in the {where}, at {fmt.rate(verified.rate_rps)}; geometric mean over "
            "draws with its 95 % interval. Draws differ, and these intervals with them: settings "
            "are compared draw by draw, below."
        )
    asked = record.asked
    if asked.within and asked.worst_ratio is not None:
        near = ", ".join(
            f"{count} within {fmt.percent(float(tie))}" for tie, count in asked.within.items()
        )
        count = sum(t.feasible for t in asked.history) if asked.history else asked.trials
        yield (
            f"How flat it is: of {count} trials that violate nothing, {near} of the best; the "
            f"worst is x {fmt.number(asked.worst_ratio)} away."
        )
    bound_s = record.bound.get("latency_s")
    best = None if asked.best is None else asked.best.fact(record.latency)
    if bound_s and best:
        yield (
            f"No setting of any policy has a {record.statistic} below {fmt.duration(bound_s)} "
            f"under these arrivals; the best found for {asked.objective} has x "
            f"{fmt.number(best / bound_s)} of it."
        )


def prediction_table(record: TuningRecord) -> Table:
    """Return what was predicted and measured of each arm."""
    verified = record.verified
    assert verified is not None  # noqa: S101 - for the type checker; the caller has looked
    show = objective_of(verified)
    rows = []
    for name, arm in verified.race.items():
        if name not in verified.predicted:
            continue
        predicted = verified.predicted[name]
        rows.append([
            arm_name(record, name),
            "unanswered requests" if predicted is None else shown(show, predicted),
            "unanswered requests" if arm.value is None else shown(show, arm.value),
            prediction_error(arm, predicted),
        ])  # fmt: skip
    return Table(["setting", "predicted", "measured", "error"], rows)


def race_table(record: TuningRecord) -> Table:
    """Return what became of each arm, and when."""
    verified = record.verified
    assert verified is not None  # noqa: S101 - for the type checker; the caller has looked
    show = objective_of(verified)
    most = max((len(arm.values) for arm in verified.race.values()), default=0)
    head = ["setting", *(f"draw {number}" for number in range(1, most + 1)), "mean"]
    if record.slo is not None:
        head.append("against the SLO")
    rows, bold = [], set()
    for number, (name, arm) in enumerate(verified.race.items()):
        won = name == verified.winner
        cells = ["unanswered" if v is None else shown(show, v) for v in arm.values]
        row = [arm_name(record, name), *cells, *[""] * (most - len(cells))]
        row.append("" if arm.value is None else shown(show, arm.value))
        if record.slo is not None:
            row.append(_slo(arm.slo_excess))
        rows.append([*row, fate_of(arm, won=won)])
        if won:
            bold.add(number)
    return Table([*head, "fate"], rows, frozenset(bold), ["Means are geometric."])


def _slo(excess: float | None) -> str:
    if excess is None or not isfinite(excess):
        return "missed"
    if excess > 1.0:
        return f"x {fmt.number(exp(excess))} of it"
    percent = fmt.percent(abs(exp(excess) - 1.0))
    return f"{percent} over" if excess > 0.0 else f"{percent} below"


def gains_table(record: TuningRecord) -> Table:
    """Return the winner against the default and the current setting."""
    verified = record.verified
    assert verified is not None  # noqa: S101 - for the type checker; the caller has looked
    rows = []
    for gain in verified.gains:
        pairs = pair_ratios(verified, gain.over)
        ratio = "no ratio"
        if gain.ratio is not None and gain.low is not None and gain.high is not None:
            ratio = f"x {gain.ratio:.3f} ({gain.low:.3f} to {gain.high:.3f})"
        unable = f", {gain.unable} unanswered" if gain.unable else ""
        lower = sum(pair < 1.0 for pair in pairs)
        rows.append([
            f"{arm_name(record, verified.winner or '')} against {gain.over}", ratio, gain.verdict,
            f"{gain.draws} fresh draws{unable}", f"lower in {lower} of {len(pairs)}",
        ])  # fmt: skip
    return Table(["", verified.label, "verdict", "behind it", "pairs"], rows)


def sensitivity_table(record: TuningRecord) -> Table:
    """Return the recommended setting under other arrivals."""
    rows = []
    for name, facts in sensitivity_rows(record):
        rows.append([
            name, _or(fmt.rate, facts.fact("offered_rps")),
            _or(fmt.duration, facts.fact(record.latency)), _or(fmt.duration, facts.fact(_DEVICE)),
            _verdict(record, facts),
        ])  # fmt: skip
    head = ["arrivals", "load", f"{record.statistic} latency", "device time a request"]
    answer = record.asked.best
    notes = [] if answer is None else [f"Of {label_of(answer)}, by simulation."]
    notes += [f"{case.case}: {case.note}." for case in record.cases if case.note]
    return Table([*head, "SLO" if record.slo else ""], rows, notes=notes)


def _or(show: Callable[[float], str], value: float | None) -> str:
    return "" if value is None else show(value)


def _verdict(record: TuningRecord, facts: Facts) -> str:
    latency_s = facts.fact(record.latency)
    if latency_s is None:
        return "cannot carry it"
    if record.slo_s is None:
        return ""
    return "met" if latency_s <= record.slo_s else "missed"


def summary_lines(record: TuningRecord) -> Iterator[str]:
    """The gist for a terminal."""
    yield record.sentence
    yield standing(record).word
    yield from reservations(record)


def reservations(record: TuningRecord) -> Iterator[str]:
    """What speaks against the answer, with its remedy, a line each."""
    for reason, remedy in standing(record).reasons:
        yield f"{reason}. {remedy}" if remedy else reason
