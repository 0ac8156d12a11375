"""What a tuning found, for people and for programs: a sentence, tables, JSON."""

from collections.abc import Iterator, Mapping
from math import exp, inf, isfinite, log1p
from typing import Any

from rich.table import Table

from bench.settings import BatcherSettings
from bench.tuning.device.finalists import raced, references_beaten
from bench.tuning.findings import Gain, Verified
from bench.tuning.request import CURRENT, DEFAULT
from bench.tuning.search.engines import Setting, knobs_of
from bench.tuning.search.objectives import (
    CapacityWithin,
    DeviceTime,
    Energy,
    Goodput,
    Latency,
)
from bench.tuning.search.selection import (
    TIE,
    Candidate,
    best_by_engine,
    surely_better,
)
from bench.tuning.simulated.sensitivity import said
from bench.tuning.tune import Result
from results import format as fmt


def name_of(settings: BatcherSettings) -> str:
    """A setting in short: timeout 32 / 10 ms, cudagraph, in_flight 2."""
    usual = BatcherSettings().model_dump()
    shown = {"policy", "max_batch_size", "batch_timeout_ms", "slo_ms"}
    further = [
        f"{key} {value}"
        for key, value in knobs_of(settings).model_dump().items()
        if key not in shown and value != usual[key]
    ]
    first = f"{settings.policy} {settings.max_batch_size} / {settings.batch_timeout_ms:g} ms"
    engine = [str(settings.by)] if isinstance(settings, Setting) else []
    return ", ".join([first, *engine, *further])


def keeps(result: Result) -> str | None:
    """The reference that should be kept, because nothing better was shown; None if there is one.

    The gain has to be more than the settings that count as ties differ by; if it was measured, it
    has to be certain too.
    """
    if not result.met:
        return None
    name = CURRENT if CURRENT in result.findings.references else DEFAULT
    verified = result.verified
    if verified is not None and verified.winner == name:
        return name
    raced_as, gain = None if verified is None else verified.race.get(name), _gain_over(result, name)
    if gain is not None and gain.verdict(maximise=maximised(result)) == "better":
        missed = raced_as is not None and _missed(raced_as)
        return name if _is_trifle(gain) and not missed else None
    if _lost(raced_as):
        return None
    if gain is not None:
        return name
    ratio = references_beaten(result.findings).get(name)
    if ratio is None:
        return None
    # Of the objective: `maximised` is of what the device is measured by, a latency for a capacity.
    maximise = result.findings.asked.objective.maximise
    better = ratio if maximise else 1.0 / ratio
    answer, other = result.findings.asked.answer, result.findings.references[name]
    sure = answer is not None and surely_better(answer, other, maximise=maximise)
    return name if better < 1.0 + TIE or not sure else None


def _lost(raced: Mapping[str, Any] | None) -> bool:
    """Whether a setting was dropped from the race, or missed the SLO in it: not one to keep."""
    return raced is not None and (raced["dropped_after"] is not None or _missed(raced))


def _missed(raced: Mapping[str, Any]) -> bool:
    """Whether a setting missed the SLO in the race, or left requests unanswered."""
    excess = raced["slo_excess"]
    return excess is None or excess > log1p(TIE)


def _is_trifle(gain: Gain) -> bool:
    """Whether a difference is one of those that count as ties."""
    return gain.effect is not None and abs(gain.effect.log_ratio) <= log1p(TIE)


def final(result: Result) -> Candidate | None:
    """The setting to use in the end: the recommended one, or the one that is there already."""
    kept = keeps(result)
    return result.recommended if kept is None else result.findings.references[kept]


def sentence(result: Result) -> str:
    """The recommendation in one sentence."""
    findings, limit = result.findings, result.question.limit
    chosen = final(result)
    load = fmt.rate(findings.load["offered_rps"])
    if chosen is None:
        return f"no setting was found that carries {load}"
    name = name_of(chosen.settings)
    if not result.met and findings.asked.chosen is not None:
        return _unmet_on_device(result)
    if not result.met:
        if limit is None:
            most = fmt.rate(chosen.facts["limit_rps"])
            return (
                f"no setting carries {load}: the nearest, {name}, serves {most} at most; "
                "give a lower --rate or --utilization, or --replicas"
            )
        value_s = chosen.facts.get(f"{limit.statistic}_s")
        if value_s is None:
            return f"no setting meets {limit} at {load}; {name} comes nearest"
        over = value_s / limit.limit_s - 1.0
        missing = f"{limit.statistic} {fmt.duration(value_s)}"
        if over > 0:
            missing += f", {fmt.percent(over)} over"
        if chosen.facts["late_share"] is not None:
            missing += f", {fmt.percent(chosen.facts['late_share'])} of requests too late"
        return f"no setting meets {limit} at {load}: the nearest, {name}, has {missing}"
    kept = keeps(result)
    if kept is not None:
        return f"no measurable gain: keep the {kept} setting, {name}"
    return f"use {name}: {_value(result, chosen)}{_against(result)}"


def _unmet_on_device(result: Result) -> str:
    """What is said when settings meet the SLO in simulation, and none does when it is measured."""
    verified, limit = result.verified, result.question.limit
    assert verified is not None  # noqa: S101 - for the type checker; the caller has looked
    said = f"no setting that was raced met {limit or 'the load'} at {fmt.rate(verified.rate_rps)}"
    known = {
        name: told["slo_excess"]
        for name, told in verified.race.items()
        if told["slo_excess"] is not None
    }
    if limit is None or not known:
        return said
    nearest = min(known, key=lambda name: known[name])
    over = fmt.percent(exp(known[nearest]) - 1.0)
    settings = raced(result.findings, verified)[nearest].settings
    return (
        f"{said}, though {_basis(result)} some do: the nearest, {name_of(settings)}, is {over} over"
    )


def _basis(result: Result) -> str:
    return "in the search" if result.findings.measured else "by simulation"


def _value(result: Result, chosen: Candidate) -> str:
    objective, verified = result.findings.asked.objective, result.verified
    basis = _basis(result)
    load = fmt.rate(result.findings.load["offered_rps"])
    measured = None if verified is None else verified.measured.get("value")
    if (
        verified is not None
        and measured is not None
        and (isinstance(objective, Latency | DeviceTime) or verified.winner in verified.found)
    ):
        at = fmt.rate(verified.rate_rps)
        return f"{verified.label} {verified.shown(measured)} at {at}, measured"
    if isinstance(objective, CapacityWithin):
        times = chosen.score.value / (chosen.facts["offered_rps"] or 1.0)
        return (
            f"meets {objective.limit} up to {fmt.rate(chosen.score.value)} {basis}, "
            f"{times:.2f} times the trace's load"
        )
    if isinstance(objective, DeviceTime):
        cost = fmt.duration(chosen.facts["device_s_per_request"])
        proxy = ", which stands for energy" if isinstance(objective, Energy) else ""
        return (
            f"{cost} of device time a request{proxy}, within {objective.limit} at {load}, {basis}"
        )
    if isinstance(objective, Goodput):
        return f"{fmt.rate(chosen.score.value)} in time of {load} offered, {basis}"
    return f"{result.question.statistic} {fmt.duration(chosen.score.value)} at {load}, {basis}"


def _against(result: Result) -> str:
    name = CURRENT if CURRENT in result.findings.references else DEFAULT
    gain, verified = _gain_over(result, name), result.verified
    if gain is not None and verified is not None:
        if gain.effect is None:
            return f"; measured: the {name} setting left requests unanswered"
        low, high = gain.effect.interval
        return (
            f"; {verified.label} x {gain.effect.ratio:.3f} of the {name} setting's "
            f"({low:.3f} to {high:.3f}), measured at {fmt.rate(verified.rate_rps)}"
        )
    ratio = references_beaten(result.findings).get(name)
    return "" if ratio is None else f", x {ratio:.3f} of the {name} setting's"


def _gain_over(result: Result, name: str) -> Gain | None:
    gains = () if result.verified is None else result.verified.gains
    return next((gain for gain in gains if gain.over == name), None)


def maximised(result: Result) -> bool:
    """Whether more of what the device is measured by is better."""
    return isinstance(result.findings.asked.objective, Goodput)


def lines(result: Result) -> Iterator[str | Table]:
    """The result for a terminal, the sentence first."""
    yield sentence(result)
    yield table(result)
    if result.engines.searched:
        yield engine_table(result)
    flat = result.findings.asked.flat
    if flat.tried:
        near = ", ".join(f"{count} within {fmt.percent(tie)}" for tie, count in flat.within.items())
        yield f"of {flat.tried} settings tried that qualify, {near} of the best; the worst is " + (
            f"x {flat.worst:.3g} away"
        )
    if result.findings.at_load and final(result) is result.findings.asked.answer:
        yield from said(result.findings, str(result.question.statistic))
    yield from result.findings.remarks
    verified = result.verified
    if verified is None:
        yield result.unverified
        return
    yield race_table(result)
    for gain in verified.gains:
        yield _gain_line(result, gain)
    yield from verified.remarks
    yield f"{verified.spent_s:.0f} s on the device for race and confirmation"


def _gain_line(result: Result, gain: Gain) -> str:
    verified = result.verified
    label = "" if verified is None else verified.label
    verdict = gain.verdict(maximise=maximised(result))
    if gain.effect is None:
        return f"against {gain.over}: {verdict}; {gain.unable} of its runs left requests unanswered"
    low, high = gain.effect.interval
    return (
        f"against {gain.over}: {label} x {gain.effect.ratio:.3f} ({low:.3f} to {high:.3f}), "
        f"{verdict}, {gain.draws} fresh draws"
    )


def table(result: Result) -> Table:
    """The named settings and those to be beaten, in simulation."""
    findings = result.findings
    statistic = str(result.question.statistic)
    shown = Table(
        title=f"{result.loaded.model} on {result.loaded.device}, "
        f"{'measured' if findings.measured else 'simulated'} under "
        f"{findings.load['name']} at {fmt.rate(findings.load['offered_rps'])}",
        title_justify="left",
    )
    shown.add_column("")
    shown.add_column("setting")
    for name in (statistic, "device\ntime", "batch", "capacity"):
        shown.add_column(name, justify="right", no_wrap=True)
    named = {name: goal.chosen for name, goal in findings.goals.items()}
    if findings.asked.chosen is None:
        named = {"nearest": findings.asked.nearest, **named}
    capacities = findings.capacities
    for name, candidate in _once({**named, **findings.references}):
        facts = candidate.facts
        able = facts["device_s_per_request"] is not None
        shown.add_row(
            name,
            name_of(candidate.settings),
            *(
                (
                    fmt.duration(facts[f"{statistic}_s"]),
                    fmt.duration(facts["device_s_per_request"]),
                    fmt.number(facts["mean_batch_size"]),
                )
                if able
                else (_unknown(facts, measured=findings.measured), "", "")
            ),
            _capacity(capacities.get(candidate.settings.model_dump_json())),
        )
    return shown


def _once(named: Mapping[str, Candidate | None]) -> Iterator[tuple[str, Candidate]]:
    """Each setting once, under all names that it has."""
    names: dict[str, list[str]] = {}
    settings: dict[str, Candidate] = {}
    for name, candidate in named.items():
        if candidate is not None:
            key = candidate.settings.model_dump_json()
            names.setdefault(key, []).append(name)
            settings.setdefault(key, candidate)
    for key, candidate in settings.items():
        yield ", ".join(names[key]), candidate


def engine_table(result: Result) -> Table:
    """Each engine that was searched: how fast it is, what making it takes, and its best setting."""
    asked = result.findings.asked
    best = best_by_engine(asked.candidates, asked.objective)
    shown = Table(title=f"engines, best for {asked.objective.name}", title_justify="left")
    shown.add_column("", overflow="fold")
    for name in ("fastest", "start"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("best setting")
    shown.add_column(asked.objective.name, justify="right", no_wrap=True)
    value_of = fmt.rate if asked.objective.maximise else fmt.duration
    for engine, loaded in result.engines.engines.items():
        profile, its = loaded.profile, best.get(engine)
        shown.add_row(
            str(engine),
            "" if profile is None else f"{fmt.rate(profile.peak_rps)} at {profile.peak_batch_size}",
            "" if profile is None else fmt.duration(profile.cold_start.total_s),
            "none does what was asked" if its is None else name_of(knobs_of(its.settings)),
            "" if its is None else value_of(its.score.value),
        )
    return shown


def _unknown(facts: dict[str, Any], *, measured: bool) -> str:
    """Why there are no numbers of a setting."""
    return "ended early" if facts.get("ended") else "" if measured else "overload"


def _capacity(rate_rps: float | None) -> str:
    if rate_rps is None:
        return ""
    return fmt.rate(rate_rps) if rate_rps else "none"


def race_table(result: Result) -> Table:
    """What was measured and what had been predicted of the same arrivals."""
    verified = result.verified
    assert verified is not None  # noqa: S101 - for the type checker; the caller has looked
    shown = Table(
        title=f"raced on {result.loaded.device} at {fmt.rate(verified.rate_rps)}, "
        f"draws of {fmt.duration(verified.window_s)}",
        title_justify="left",
    )
    shown.add_column("")
    prediction_check = ("predicted", "off by") if verified.predicted else ()
    for name in (verified.label, *prediction_check, "draws"):
        shown.add_column(name, justify="right")
    for name, told in verified.race.items():
        value, dropped = told["value"], told["dropped_after"]
        shown.add_row(
            name + (" (won)" if name == verified.winner else ""),
            verified.shown(value) if value is not None else "unanswered requests",
            *(_predicted(verified, name) if prediction_check else ()),
            f"{told['draws']}" + ("" if dropped is None else ", dropped"),
        )
    return shown


def _predicted(verified: Verified, name: str) -> tuple[str, str]:
    """What simulation said of an arm, and by how much it is off."""
    predicted, value = verified.predicted.get(name, inf), verified.race[name]["value"]
    if not isfinite(predicted):
        return "unanswered requests", ""
    off = "" if value is None else f"{100.0 * (predicted / value - 1.0):+.0f} %"
    return verified.shown(predicted), off
