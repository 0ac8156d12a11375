"""What a tuning says in words: whether it can be taken at its word, the tables, their notes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, isfinite

from results import format as fmt
from results.page import Table
from results.tuning.device_record import CONFIRM, DeviceRecord, Judged, MeasuredArm
from results.tuning.metrics import Metrics, latency_field
from results.tuning.named import (
    arm_name,
    fate_of,
    label_of,
    named_settings,
    pair_ratios,
    prediction_error,
    shown,
)
from results.tuning.record import CAPACITY, EngineRecord, TuningRecord, sensitivity_rows

# What makes a run not valid, where there is no room for a sentence.
_FAULTS = {"too_few_requests": "too short, with too few requests for a p99"}


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
        word = "no feasible setting"
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


def settings_table(record: TuningRecord, *, brief: bool = False) -> Table:
    """Return every setting that has a name, as predicted and as measured.

    Args:
        record: of the tuning.
        brief: for a terminal: short names, without what was measured, which the race says too.
    """
    verified = None if brief else record.verified
    named = named_settings(record)
    head = ["", "setting", f"{record.statistic} latency", "device time a request", "mean batch"]
    if brief:
        head[2:] = [record.statistic, "device\ntime", "batch"]
    capacities = record.slo is None or any(n.judged.capacity_rps is not None for n in named)
    if capacities:  # a search on the device works none out
        head.append("capacity" if brief or record.slo is None else "capacity within the SLO")
    if verified is not None and verified.measured:
        head += [f"{record.statistic} measured", "device time measured"]
    rows, bold = [], set()
    for number, one in enumerate(named):
        predicted = _predicted(record, one.judged)
        name = one.short if brief else one.title
        row = [name, label_of(one.judged), *predicted[: 4 if capacities else 3]]
        if verified is not None and verified.measured:
            measured = verified.measured_of(one.judged.settings)
            latency = latency_field(record.statistic)
            row += [_interval(measured, name) for name in (latency, "device_s_per_request")]
        rows.append(row)
        if one.names[0] == "recommended":
            bold.add(number)
    return Table(head, rows, frozenset(bold), list(_settings_notes(record)))


def _predicted(record: TuningRecord, judged: Judged) -> list[str]:
    metrics = judged.metrics
    latency_s, device_s = metrics.latency_s(record.statistic), metrics.device_s_per_request
    carried = metrics.limit_rps if record.slo is None else judged.capacity_rps
    known = fmt.rate(carried) if carried is not None else "not worked out"
    if carried == 0.0:
        known = "none"
    if latency_s is None and device_s is None:
        why = "cannot carry the load" if metrics.limit_rps else metrics.ended or "not known"
        return [why, "", "", known]
    size = fmt.number(metrics.mean_batch_size)
    return [fmt.duration(latency_s), fmt.duration(device_s), size, known]


def _interval(measured: MeasuredArm | None, name: str) -> str:
    """A value with its interval, the unit once where it is the same: 41.0 ms (38.9 to 43.2)."""
    if measured is None:
        return "not raced"
    interval = measured.metrics.get(name)
    if interval is None:
        return "not measured"
    said = fmt.duration(interval.value)
    if interval.low is None or interval.high is None:
        return said
    ends = [fmt.duration(end) for end in (interval.low, interval.high)]
    unit = f" {said.rpartition(' ')[2]}"
    if all(end.endswith(unit) for end in ends):
        ends = [end.removesuffix(unit) for end in ends]
    return f"{said} ({' to '.join(ends)})"


def validity_of(measured: MeasuredArm, window_s: float | None) -> str:
    """From which runs something was measured: from 10 runs of 1.00 s, 4 of them not valid: ..."""
    runs = "1 run" if measured.runs == 1 else f"{measured.runs} runs"
    said = f"from {runs}" + ("" if window_s is None else f" of {fmt.duration(window_s)}")
    if not measured.not_valid:
        return said
    faults = [_FAULTS.get(code, code.replace("_", " ")) for code in measured.reasons]
    return f"{said}, {measured.not_valid} of them not valid: {'; '.join(faults)}"


def basis_of(record: TuningRecord) -> str:
    """Where the values of the search are from."""
    return "by simulation" if record.simulated else "in the search"


def at_own_load(record: TuningRecord) -> str:
    """What becomes of the trace's own load where it is a capacity that was searched for.

    Empty where it is another objective, which is judged at that load, or where that is not known.
    """
    chosen, name = record.chosen, record.compared_with
    other = record.references.get(name)
    if record.asked.objective != CAPACITY or not record.met or chosen is None or other is None:
        return ""
    statistic = record.slo_statistic

    def does(judged: Judged) -> str:
        value_s = judged.metrics.latency_s(statistic)
        if value_s is None:
            return "overload" if judged.metrics.limit_rps else "a latency that was not simulated"
        return f"{statistic} {fmt.duration(value_s)}"

    with_others = "" if chosen.settings == other.settings else f", with the {name} {does(other)}"
    return (
        f"at the trace's own load of {fmt.rate(record.offered_rps)}, {basis_of(record)}: with the "
        f"recommended setting {does(chosen)}{with_others}; --objective latency or device-time "
        "searches for the best there"
    )


def _settings_notes(record: TuningRecord) -> Iterator[str]:
    load = fmt.rate(record.offered_rps)
    basis = "simulated" if record.simulated else "measured by the search"
    said = f"Latency, device time and capacity: {basis} under {record.load.get('name')} at {load}"
    if record.slo is None:
        said += "; capacity: the throughput at which a setting saturates"
    yield f"{said}."
    if at_load := at_own_load(record):
        yield f"{at_load[:1].upper()}{at_load[1:]}."
    verified = record.verified
    if verified is not None and verified.measured:
        stages = sorted({measured.stage for measured in verified.measured.values()})
        where = " or ".join("confirmation" if s == CONFIRM else s for s in stages)
        yield (
            f"Measured: in the {where}, at {fmt.rate(verified.rate_rps)}; geometric mean over "
            "draws with its 95 % interval. Draws differ, and these intervals with them: settings "
            "are compared draw by draw, below."
        )
        own = verified.measured_of(record.recommended)
        if record.met and own is not None and own.not_valid:
            yield f"The recommended setting was measured {validity_of(own, verified.window_s)}."
    flat = flatness(record)
    if flat:
        yield f"How flat it is: {flat}."
    bound_s = record.bound.get("latency_s")
    asked = record.asked
    best = None if asked.best is None else asked.best.metrics.latency_s(record.statistic)
    if bound_s and best:
        yield (
            f"No setting of any policy has a {record.statistic} below {fmt.duration(bound_s)} "
            f"under these arrivals; the best found for {asked.objective} has x "
            f"{fmt.number(best / bound_s)} of it."
        )


def flatness(record: TuningRecord) -> str:
    """How many settings come near the best; empty where that is not known."""
    asked = record.asked
    if not asked.within or asked.worst_ratio is None:
        return ""
    near = ", ".join(f"{n} within {fmt.percent(float(tie))}" for tie, n in asked.within.items())
    return (
        f"of {asked.qualified} trials that violate nothing, {near} of the best; the worst is x "
        f"{fmt.number(asked.worst_ratio)} away"
    )


def prediction_table(record: TuningRecord) -> Table:
    """Return what was measured of each arm, and predicted where it was."""
    verified = record.raced
    rows, bold = [], set()
    for number, (name, arm) in enumerate(verified.race.items()):
        won = name == verified.winner
        row = [arm_name(record, name) + (", won" if won else ""), _mean(verified, arm.value)]
        if name in verified.predicted:
            predicted = verified.predicted[name]
            row += [_mean(verified, predicted), prediction_error(arm, predicted)]
        elif verified.predicted:
            row += ["", ""]
        rows.append([*row, f"{arm.draws}" + ("" if arm.dropped_after is None else ", dropped")])
        if won:
            bold.add(number)
    check = ["predicted", "error"] if verified.predicted else []
    return Table(["", verified.label, *check, "draws"], rows, frozenset(bold))


def _mean(verified: DeviceRecord, value: float | None) -> str:
    return "unanswered requests" if value is None else verified.shown(value)


def race_table(record: TuningRecord) -> Table:
    """Return what became of each arm, and when."""
    verified = record.raced
    most = max((len(arm.values) for arm in verified.race.values()), default=0)
    head = ["setting", *(f"draw {number}" for number in range(1, most + 1)), "mean"]
    if record.slo is not None:
        head.append("against the SLO")
    rows, bold = [], set()
    for number, (name, arm) in enumerate(verified.race.items()):
        won = name == verified.winner
        cells = ["unanswered" if v is None else verified.shown(v) for v in arm.values]
        row = [arm_name(record, name), *cells, *[""] * (most - len(cells))]
        row.append("" if arm.value is None else verified.shown(arm.value))
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
    verified = record.raced
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


def engines_table(record: TuningRecord) -> Table:
    """Return each engine with its best setting, the one that leads in bold."""
    objective = record.asked.objective
    rows = [[one.engine, *_speed(one), *_best(one, objective)] for one in record.engines]
    bold = _leader(record.engines, maximise=record.asked.maximise)
    memory = any(one.engine_bytes is not None for one in record.engines)
    head = ["engine", "fastest", "batch of 1", "start", *(["graphs"] if memory else [])]
    if not memory:
        rows = [[*row[:4], *row[5:]] for row in rows]
    return Table(
        [*head, "best setting", objective],
        rows,
        frozenset() if bold is None else frozenset((bold,)),
        ["Start: loading, making the engine, and warming every batch size up once."],
    )


def _speed(engine: EngineRecord) -> list[str]:
    if not engine.rates_rps:
        return ["not measured"] + [""] * 3
    alone_s = 1.0 / engine.rates_rps[1] if 1 in engine.rates_rps else None
    return [
        f"{fmt.rate(engine.peak_rps)} at {engine.peak_batch_size}",
        fmt.duration(alone_s),
        fmt.duration(engine.cold_start_s),
        "" if engine.engine_bytes is None else fmt.size(engine.engine_bytes),
    ]


def _best(engine: EngineRecord, objective: str) -> list[str]:
    if engine.best is None:
        return ["none does what was asked", ""]
    return [label_of(engine.best), shown(objective, engine.best.value)]


def _leader(engines: Sequence[EngineRecord], *, maximise: bool) -> int | None:
    """The number of the engine whose best setting is the best of all."""
    sign = -1.0 if maximise else 1.0
    values = {
        number: sign * one.best.value
        for number, one in enumerate(engines)
        if one.best is not None and one.best.value is not None
    }
    return min(values, key=lambda number: values[number], default=None)


def sensitivity_table(record: TuningRecord) -> Table:
    """Return the setting that the search proposes under other arrivals."""
    rows = []
    for name, metrics in sensitivity_rows(record):
        latency_s, device_s = metrics.latency_s(record.statistic), metrics.device_s_per_request
        rows.append([
            name, _or(fmt.rate, metrics.offered_rps), _or(fmt.duration, latency_s),
            _or(fmt.duration, device_s), _verdict(record, metrics),
        ])  # fmt: skip
    head = ["arrivals", "load", f"{record.statistic} latency", "device time a request"]
    answer = record.asked.best
    notes = [] if answer is None else [f"Of {label_of(answer)}, by simulation."]
    notes += [f"{case.case}: {case.note}." for case in record.cases if case.note]
    return Table([*head, "SLO" if record.slo else ""], rows, notes=notes)


def _or(show: Callable[[float], str], value: float | None) -> str:
    return "" if value is None else show(value)


def _verdict(record: TuningRecord, metrics: Metrics) -> str:
    latency_s = metrics.latency_s(record.statistic)
    if latency_s is None:
        return "cannot carry it"
    if record.slo_s is None:
        return ""
    return "met" if latency_s <= record.slo_s else "missed"


def reservations(record: TuningRecord) -> Iterator[str]:
    """What speaks against the answer, with its remedy, a line each."""
    for reason, remedy in standing(record).reasons:
        yield f"{reason}. {remedy}" if remedy else reason
