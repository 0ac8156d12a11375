"""What is recommended in the end: what was found, what won the race, or what is there already."""

from math import log, log1p
from typing import Any

from bench.tuning.findings import Findings
from bench.tuning.search.selection import TIE, surely_better
from results.tuning.device_record import DeviceRecord, Gain, RaceArm
from results.tuning.record import CURRENT, DEFAULT


def is_met(findings: Findings, verified: DeviceRecord | None) -> bool:
    """Whether there is a setting that does what was asked."""
    if findings.asked.chosen is None:
        return False
    return verified is None or verified.winner is not None


def kept_reference(findings: Findings, verified: DeviceRecord | None) -> str | None:
    """The reference that should be kept, because nothing better was shown; None if there is one.

    The gain has to be more than the settings that count as ties differ by; if it was measured, it
    has to be certain too.
    """
    if not is_met(findings, verified):
        return None
    name = CURRENT if CURRENT in findings.references else DEFAULT
    if verified is None:
        return None if _surely_gains(findings, name) else name
    if verified.winner == name:
        return name
    arm = verified.race.get(name)
    gain = next((gain for gain in verified.gains if gain.over == name), None)
    if gain is not None and gain.verdict == "better":
        return name if _is_trifle(gain) and (arm is None or not _missed(arm)) else None
    if arm is not None and _lost(arm):
        return None
    return None if gain is None and _surely_gains(findings, name) else name


def recommended_settings(
    findings: Findings, verified: DeviceRecord | None
) -> dict[str, Any] | None:
    """The setting to use in the end, by knob, or the nearest one; None where there is none."""
    kept = kept_reference(findings, verified)
    if kept is not None:
        return findings.references[kept].settings.model_dump(mode="json")
    if verified is not None and verified.winner is not None:
        return verified.settings_of(verified.winner)
    answer = findings.asked.answer
    return None if answer is None else answer.settings.model_dump(mode="json")


def _surely_gains(findings: Findings, name: str) -> bool:
    """Whether simulation has the proposed setting surely better than a reference, and by a gain.

    A reference that does not do what was asked is beaten.
    """
    objective, answer = findings.asked.objective, findings.asked.answer
    other = findings.references.get(name)
    if answer is None or other is None or not other.score.feasible or not other.score.value > 0.0:
        return True
    ratio = answer.score.value / other.score.value
    better = ratio if objective.maximise else 1.0 / ratio
    return better >= 1.0 + TIE and surely_better(answer, other, maximise=objective.maximise)


def _lost(arm: RaceArm) -> bool:
    """Whether a setting was dropped from the race, or missed the SLO in it: not one to keep."""
    return arm.dropped_after is not None or _missed(arm)


def _missed(arm: RaceArm) -> bool:
    """Whether a setting missed the SLO in the race, or left requests unanswered."""
    return arm.slo_excess is None or arm.slo_excess > log1p(TIE)


def _is_trifle(gain: Gain) -> bool:
    """Whether a difference is one of those that count as ties."""
    return gain.ratio is not None and abs(log(gain.ratio)) <= log1p(TIE)
