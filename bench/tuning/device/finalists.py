"""Which settings go from the search to the device."""

from math import inf

from bench.tuning.findings import Findings, Verified
from bench.tuning.request import CURRENT, DEFAULT
from bench.tuning.search.objectives import Score
from bench.tuning.search.selection import Candidate

RECOMMENDED = "recommended"
BEST, SECOND, THIRD = "best simulated", "second best", "third best"
_MEASURED_AS = {
    "p50_s": "latency_s.p50",
    "p99_s": "latency_s.p99",
    "mean_s": "latency_s.mean",
    "throughput_rps": "throughput_rps",
    "device_s_per_request": "device.busy_s_per_request",
    "busy_fraction": "device.busy_fraction",
    "mean_batch_size": "batch.mean_size",
}


def finalists(findings: Findings) -> dict[str, Candidate]:
    """The settings that race, by name: what was found and what it has to beat.

    A setting that is there under several names races under the first.
    """
    asked = findings.asked
    named: dict[str, Candidate] = {}
    if asked.answer is not None:
        named[RECOMMENDED] = asked.answer
    sign = -1.0 if asked.objective.maximise else 1.0
    ranking = sorted(
        (candidate for candidate in asked.candidates if candidate.score.feasible),
        key=lambda candidate: sign * candidate.score.value,
    )
    if findings.measured:
        # Those that were ended early are known to be worse than the best, and no more.
        whole = [one for one in ranking if one.facts.get("ended") is None]
        named.update(zip((SECOND, THIRD), whole[1:3], strict=False))
    elif ranking:
        named[BEST] = ranking[0]
    named.update(findings.references)
    unique: dict[str, Candidate] = {}
    for name, candidate in named.items():
        if all(candidate.settings != other.settings for other in unique.values()):
            unique[name] = candidate
    return unique


def raced(findings: Findings, verified: Verified | None) -> dict[str, Candidate]:
    """The finalists, and what was found on the device after they had raced."""
    named = finalists(findings)
    if verified is None:
        return named
    for name, settings in verified.found.items():
        known = verified.expected.get(name, {})
        facts = {
            fact: known[metric].value if metric in known else None
            for fact, metric in _MEASURED_AS.items()
        }
        empty = dict.fromkeys(next(iter(named.values())).facts)
        named[name] = Candidate(settings, Score(inf, {}), (), {**empty, **facts})
    return named


def references_beaten(findings: Findings) -> dict[str, float]:
    """By reference, the value of the recommended setting / its value; infinite where it has none.

    In simulation, on the draws that decided.
    """
    answer = findings.asked.answer
    if answer is None:
        return {}
    ratios: dict[str, float] = {}
    for name in (DEFAULT, CURRENT):
        other = findings.references.get(name)
        if other is not None and other.score.feasible and other.score.value > 0.0:
            ratios[name] = answer.score.value / other.score.value
    return ratios
