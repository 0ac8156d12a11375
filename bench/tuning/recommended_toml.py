"""What a tuning found, as a config file to use."""

import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from batching.execution.devices import resolve_placement
from bench.errors import InputError, RunFailedError
from bench.hardware.environment import describe_environment
from bench.settings import Settings, beside, load_settings
from bench.toml import comment, toml_text
from bench.tuning.conclusion import final, maximised, sentence
from bench.tuning.device.finalists import raced
from bench.tuning.search.engines import with_setting
from bench.tuning.search.selection import Candidate
from bench.tuning.simulated.sensitivity import described
from bench.tuning.tune import Result
from results.files import write_text

TABLE = "recommendation"


_Finite = Annotated[float, Field(allow_inf_nan=False)]


_Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_Facts):
    """A metric, in the unit that its name ends in, and its interval where there is one."""

    value: _Finite
    low: _Finite | None = None
    high: _Finite | None = None


class Gain(_Facts):
    """The setting against another one: ratios of a metric, recommended / other.

    Attributes:
        over: what it is compared with: "default", "current", or an arm's name.
        metric: a name as in run.json.
        ratio, low, high: the effect and its interval; all None where the other setting cannot
            carry the load, so that there is nothing to divide by.
        verdict: as `dynbatch compare` words it.
        draws: pairs of runs behind it.
    """

    over: str
    metric: str
    ratio: _Ratio | None = None
    low: _Ratio | None = None
    high: _Ratio | None = None
    verdict: str
    draws: Annotated[int, Field(ge=1)] | None = None


class Case(_Facts):
    """The same setting under other circumstances: "load +20 %", say."""

    case: str
    expected: dict[str, Estimate]


class Facts(_Facts):
    """What is known of a recommended setting.

    Attributes:
        sentence: the recommendation in one sentence, "no measurable gain: keep what you have" too.
        command: what made it.
        created: when, with a time zone.
        objective: what it is best at.
        basis: where the numbers come from.
        confidence: of every interval, between 0 and 1.
        device: what it was found on, and holds for.
        versions: of the packages that figures depend on.
        expected: metrics by their names in run.json.
        gains: against the default and the current setting.
        sensitivity: other loads, burstier and calmer traces.
        notes: what else a reader should know, a sentence each.
    """

    sentence: str
    command: str
    created: AwareDatetime
    objective: str
    basis: Literal["measured", "simulated"]
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    device: str
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    expected: dict[str, Estimate] = Field(default_factory=dict)
    gains: tuple[Gain, ...] = ()
    sensitivity: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A setting, and what is known of it; None for a config file that somebody wrote by hand."""

    settings: Settings
    facts: Facts | None


def write_recommendation(path: Path, settings: Settings, facts: Facts) -> None:
    """Write the file whole, in place of one that is there; its paths are as `beside` says.

    Raises:
        RunFailedError: it cannot be written.
    """
    tables = beside(settings, path.parent).model_dump(mode="json", exclude_none=True)
    tables[TABLE] = facts.model_dump(mode="json", exclude_none=True)
    try:
        text = comment(_gist(path, facts)) + "\n" + toml_text(tables)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise RunFailedError(f"{path}: cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise RunFailedError(f"{path}: cannot be written: {error}") from None


def read_recommendation(path: Path) -> Recommendation:
    """Read what `write_recommendation` wrote, or any other config file.

    Raises:
        InputError: the file cannot be read, or something in it is unknown or out of its range.
    """
    settings = load_settings(path, {})
    table = tomllib.loads(path.read_text(encoding="utf-8")).get(TABLE)
    return Recommendation(settings, None if table is None else _facts(path, table))


def _facts(path: Path, table: Mapping[str, Any]) -> Facts:
    try:
        return Facts.model_validate(table)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Input ").replace("should", "must")
        what = "must not be there" if fault["type"] == "extra_forbidden" else message
        raise InputError(f"config {path}: [{TABLE}] {where}: {what}") from None


def _gist(path: Path, facts: Facts) -> str:
    lines = [
        facts.sentence,
        f"Found by: {facts.command}",
        f"On: {facts.device}, {facts.created:%Y-%m-%d}; {facts.basis}, for {facts.objective}.",
    ]
    lines += [f"Expected {name}: {_span(estimate)}" for name, estimate in facts.expected.items()]
    lines += [
        f"Against {gain.over}: {gain.metric} {_times(gain)}{gain.verdict}" for gain in facts.gains
    ]
    lines += [
        f"Simulated, {case.case}: {name} {_span(case.expected[name])}"
        for case in facts.sensitivity
        for name in ("latency_s.p99",)
        if name in case.expected
    ]
    lines.append(f"Use it: dynbatch bench --config {path.name}")
    lines.append(f'Serve with it: DynamicBatcher.from_config("{path.name}", run)')
    return "\n".join(" ".join(line.split()) for line in lines)


def _span(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def _times(gain: Gain) -> str:
    if gain.ratio is None:
        return ""
    span = Estimate(value=gain.ratio, low=gain.low, high=gain.high)
    return f"x {_span(span)}, "


RECOMMENDED = "recommended.toml"


def write_config(result: Result, folder: Path, command: str) -> Path | None:
    """Write `recommended.toml`; None where there is nothing to recommend.

    What an earlier part of the tuning recommended does not stand beside that.
    """
    chosen, path = final(result), folder / RECOMMENDED
    if chosen is None or not result.met:
        path.unlink(missing_ok=True)
        return None
    settings = with_setting(result.settings, chosen.settings)
    model = settings.model.model_copy(
        update={"device": _measured_on(result, settings.model.device)}
    )
    settings = settings.model_copy(update={"model": model})
    write_recommendation(path, settings, facts(result, command))
    return path


def _measured_on(result: Result, asked: str) -> str:
    """The device that was measured, where it was left open: elsewhere "auto" may be another."""
    if asked not in ("auto", "cuda"):
        return asked
    profile = result.loaded.profile
    if profile is not None and profile.subject.engine != "python":
        return profile.subject.device
    return resolve_placement(asked).device


def facts(result: Result, command: str) -> Facts:
    """What is known of the recommended setting."""
    chosen, verified = final(result), result.verified
    assert chosen is not None  # noqa: S101 - for the type checker; the caller has looked
    measured = result.findings.measured
    notes = [*result.findings.remarks, *(() if verified is None else verified.remarks)]
    if result.unverified:
        notes.append(result.unverified)
    expected = _expected(chosen.facts)
    arm = _arm_of(result, chosen)
    if verified is not None and verified.expected.get(arm):
        expected = {
            name: Estimate(value=known.value, low=known.low, high=known.high)
            for name, known in verified.expected[arm].items()
        }
        notes.append(
            f"expected metrics were measured on {result.loaded.device} at "
            f"{verified.rate_rps:.6g} req/s in draws of {verified.window_s:.3g} s"
        )
    else:
        notes.append(f"expected metrics are {'measured' if measured else 'by simulation'}")
    environment = describe_environment(torch_threads=None, gpu_index=None)
    versions = {**environment["packages"], "python": platform.python_version()}
    gains: tuple[Gain, ...] = ()
    if verified is not None:
        gains = tuple(
            Gain(
                over=gain.over,
                metric=verified.label,
                ratio=None if gain.effect is None else gain.effect.ratio,
                low=None if gain.effect is None else gain.effect.interval[0],
                high=None if gain.effect is None else gain.effect.interval[1],
                verdict=gain.verdict(maximise=maximised(result)),
                draws=gain.draws,
            )
            for gain in verified.gains
        )
    return Facts(
        sentence=sentence(result),
        command=command,
        created=datetime.now(UTC).replace(microsecond=0),
        objective=result.findings.asked.objective.name,
        basis="simulated" if verified is None and not measured else "measured",
        device=_device(result),
        versions=versions,
        notes=tuple(notes),
        expected=expected,
        gains=gains,
        sensitivity=_sensitivity(result) if chosen is result.findings.asked.answer else (),
    )


def _arm_of(result: Result, chosen: Candidate) -> str:
    """The name that a setting raced under; empty if it did not."""
    arms = raced(result.findings, result.verified)
    return next((name for name, arm in arms.items() if arm.settings == chosen.settings), "")


def _sensitivity(result: Result) -> tuple[Case, ...]:
    """The setting under other traffic, by simulation."""
    findings = result.findings
    cases = {f"load x {share:g}": facts for share, facts in findings.at_load.items()}
    cases |= {described(name, its): dict(its.facts) for name, its in findings.variants.items()}
    return tuple(
        Case(case=case, expected=_expected(facts))
        for case, facts in cases.items()
        if _expected(facts)
    )


_NAMES = {
    "latency_s.p50": "p50_s",
    "latency_s.p99": "p99_s",
    "latency_s.mean": "mean_s",
    "throughput_rps": "throughput_rps",
    "device.busy_s_per_request": "device_s_per_request",
    "device.busy_fraction": "busy_fraction",
    "batch.mean_size": "mean_batch_size",
}


def _expected(known: dict[str, Any]) -> dict[str, Estimate]:
    return {
        name: Estimate(value=known[key])
        for name, key in _NAMES.items()
        if known.get(key) is not None
    }


def _device(result: Result) -> str:
    profile = result.loaded.profile
    if profile is None:
        return result.loaded.device
    return profile.subject.device_name or profile.subject.device
