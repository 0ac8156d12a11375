"""What a tuning found, as a config file to use."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batching.devices import resolve_placement
from bench.hardware.environment import describe_environment
from bench.recommendation import Case, Estimate, Facts, Gain, write_recommendation
from bench.tuning.conclusion import final, maximised, sentence
from bench.tuning.device.finalists import raced
from bench.tuning.search.engines import with_setting
from bench.tuning.search.selection import Candidate
from bench.tuning.simulated.sensitivity import described
from bench.tuning.tune import Result

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
