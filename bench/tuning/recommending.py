"""What a tuning found, as a config file to use."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.environment import describe_environment
from bench.recommendation import Case, Estimate, Facts, Gain, write_recommendation
from bench.tuning.course import Result
from bench.tuning.telling import final, maximised, sentence

RECOMMENDED = "recommended.toml"


def write_config(result: Result, folder: Path, command: str) -> Path | None:
    """Write `recommended.toml`; None where there is nothing to recommend."""
    chosen = final(result)
    if chosen is None or not result.met:
        return None
    settings = result.settings.model_copy(update={"batcher": chosen.settings})
    path = folder / RECOMMENDED
    write_recommendation(path, settings, facts(result, command))
    return path


def facts(result: Result, command: str) -> Facts:
    """What is known of the recommended setting."""
    chosen, verified = final(result), result.verified
    assert chosen is not None  # noqa: S101 - for the type checker; the caller has looked
    notes = list(() if verified is None else verified.remarks)
    if result.unverified:
        notes.append(result.unverified)
    notes.append("expected metrics are by simulation")
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
        basis="simulated" if verified is None else "measured",
        device=_device(result),
        versions=versions,
        notes=tuple(notes),
        expected=_expected(chosen.facts),
        gains=gains,
        sensitivity=tuple(
            Case(case=f"load x {share:g}", expected=_expected(its))
            for share, its in result.findings.at_load.items()
            if _expected(its) and chosen is result.findings.asked.answer
        ),
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
