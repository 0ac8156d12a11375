"""The conclusion of a tuning: its headline, and the lines for a terminal."""

from collections.abc import Iterator
from math import exp

import rich.table

from results import format as fmt
from results.page import Table
from results.tuning.device_record import DeviceRecord, Gain, Judged
from results.tuning.named import label_of
from results.tuning.record import CAPACITY, TuningRecord
from results.tuning.wording import (
    at_own_load,
    basis_of,
    engines_table,
    flatness,
    prediction_table,
    reservations,
    sensitivity_table,
    settings_table,
    standing,
)

# Objectives that are measured on the device as they are.
_MEASURED = ("latency", "device-time", "energy")
# More letters than that are words, which may be wrapped.
_A_NUMBER = 19


def headline(record: TuningRecord) -> str:
    """The recommendation in one sentence; a gain is claimed only where it is decided."""
    chosen, load = record.chosen, fmt.rate(record.offered_rps)
    if chosen is None:
        return f"no feasible setting: none was found that carries {load}"
    name = label_of(chosen)
    if not record.met:
        if record.asked.chosen is not None and record.verified is not None:
            return _unmet_on_device(record, record.verified)
        return _unmet(record, chosen)
    if record.keeps is not None:
        return f"no measurable gain: keep the {record.keeps} setting, {name}"
    return f"use {name}: {_value(record, chosen)}{_against(record, chosen)}"


def _unmet(record: TuningRecord, nearest: Judged) -> str:
    name, load, metrics = label_of(nearest), fmt.rate(record.offered_rps), nearest.metrics
    if record.slo is None:
        return (
            f"no setting carries {load}: the nearest, {name}, serves {fmt.rate(metrics.limit_rps)} "
            "at most; give a lower --rate or --utilization, or --replicas"
        )
    value_s = metrics.latency_s(record.slo_statistic)
    if value_s is None or record.slo_s is None:
        return f"no setting meets {record.slo} at {load}; {name} comes nearest"
    over = value_s / record.slo_s - 1.0
    missing = f"{record.slo_statistic} {fmt.duration(value_s)}"
    if over > 0:
        missing += f", {fmt.percent(over)} over"
    if metrics.late_share is not None:
        missing += f", {fmt.percent(metrics.late_share)} of requests too late"
    return f"no setting meets {record.slo} at {load}: the nearest, {name}, has {missing}"


def _unmet_on_device(record: TuningRecord, verified: DeviceRecord) -> str:
    """What is said when settings meet the SLO in the search, and none does when it is raced."""
    at = fmt.rate(verified.rate_rps)
    said = f"no setting that was raced met {record.slo or 'the load'} at {at}"
    excesses = {name: arm.slo_excess for name, arm in verified.race.items()}
    known = {name: excess for name, excess in excesses.items() if excess is not None}
    if record.slo is None or not known:
        return said
    nearest = min(known, key=lambda name: known[name])
    settings = verified.settings_of(nearest) or {}
    name = label_of(record.of(settings) or Judged(settings=settings))
    over = fmt.percent(exp(known[nearest]) - 1.0)
    return f"{said}, though {basis_of(record)} some do: the nearest, {name}, is {over} over"


def _value(record: TuningRecord, chosen: Judged) -> str:
    """How good the setting is: as it was measured where that was confirmed, else as predicted."""
    objective, verified = record.asked.objective, record.verified
    basis, load = basis_of(record), fmt.rate(record.offered_rps)
    if (
        verified is not None
        and verified.confirmation.value is not None
        and (objective in _MEASURED or verified.winner in verified.found)
    ):
        at = fmt.rate(verified.rate_rps)
        return f"{verified.label} {verified.shown(verified.confirmation.value)} at {at}, measured"
    value = chosen.value
    if objective == CAPACITY:
        times = (value or 0.0) / (chosen.metrics.offered_rps or 1.0)
        return (
            f"meets {record.slo} up to {fmt.rate(value)} {basis}, "
            f"{times:.2f} times the trace's load"
        )
    if objective in ("device-time", "energy"):
        cost = fmt.duration(chosen.metrics.device_s_per_request)
        proxy = ", which stands for energy" if objective == "energy" else ""
        return f"{cost} of device time a request{proxy}, within {record.slo} at {load}, {basis}"
    if objective == "goodput":
        return f"{fmt.rate(value)} in time of {load} offered, {basis}"
    return f"{record.statistic} {fmt.duration(value)} at {load}, {basis}"


def _against(record: TuningRecord, chosen: Judged) -> str:
    """The gain: of a race the one that was confirmed, or that there is none; else the simulated."""
    name, verified = record.compared_with, record.verified
    if verified is None:
        other = record.references.get(name)
        if other is None or not (chosen.value and other.value and other.feasible):
            return ""
        return f", x {chosen.value / other.value:.3f} of the {name} setting's"
    gain = _decided(verified, name)
    if gain is None:
        return f"; no gain over the {name} setting was confirmed"
    if gain.ratio is None or gain.low is None or gain.high is None:
        return f"; measured: the {gain.over} setting left requests unanswered"
    return (
        f"; {verified.label} x {gain.ratio:.3f} of the {gain.over} setting's "
        f"({gain.low:.3f} to {gain.high:.3f}), measured at {fmt.rate(verified.rate_rps)}"
    )


def _decided(verified: DeviceRecord, name: str) -> Gain | None:
    """The gain over that setting, or else over another, that was decided."""
    better = [gain for gain in verified.gains if gain.verdict == "better"]
    return min(better, key=lambda gain: gain.over != name, default=None)


def conclusion(record: TuningRecord) -> Iterator[str | rich.table.Table]:
    """The conclusion for a terminal, the headline first."""
    verified = record.verified
    yield record.sentence
    if own := at_own_load(record):
        yield own
    searched = "simulated" if record.simulated else "measured"
    load = f"{record.load.get('name')} at {fmt.rate(record.offered_rps)}"
    subject = f"{record.model} on {record.device}"
    yield _shown(settings_table(record, brief=True), f"{subject}, {searched} under {load}")
    if record.engines:
        yield _shown(engines_table(record), f"engines, best for {record.asked.objective}")
    if flat := flatness(record):
        yield flat
    if record.cases:
        table = sensitivity_table(record)
        yield _shown(table, "the setting that the search proposes, under other arrivals")
        yield from table.notes
    if verified is not None:
        title = f"raced on {record.device} at {fmt.rate(verified.rate_rps)}, draws of "
        yield _shown(prediction_table(record), title + fmt.duration(verified.window_s))
        yield from (_gain_line(gain, verified.label) for gain in verified.gains)
        if verified.spent_s is not None:
            yield f"{verified.spent_s:.0f} s on the device for race and confirmation"
    yield standing(record).word
    yield from reservations(record)


def _gain_line(gain: Gain, label: str) -> str:
    said = f"against {gain.over}: "
    if gain.ratio is None or gain.low is None or gain.high is None:
        return f"{said}{gain.verdict}; {gain.unable} of its runs left requests unanswered"
    ratio = f"{label} x {gain.ratio:.3f} ({gain.low:.3f} to {gain.high:.3f})"
    return f"{said}{ratio}, {gain.verdict}, {gain.draws} fresh draws"


def _shown(table: Table, title: str) -> rich.table.Table:
    """A table in a terminal."""
    shown = rich.table.Table(title=title, title_justify="left")
    for number, name in enumerate(table.head):
        narrow = all(len(row[number]) <= _A_NUMBER for row in table.rows)
        right = number > 1 and narrow
        shown.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for number, row in enumerate(table.rows):
        shown.add_row(*row, style="bold" if number in table.bold else "")
    return shown
