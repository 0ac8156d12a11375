"""Which settings go from the search to the device."""

from bench.tuning.findings import Findings
from bench.tuning.search.selection import Candidate
from results.tuning.device_record import PROPOSED

BEST, SECOND, THIRD = "best simulated", "second best", "third best"


def finalists(findings: Findings) -> dict[str, Candidate]:
    """The settings that race, by name: what was found and what it has to beat.

    A setting that is there under several names races under the first.
    """
    asked = findings.asked
    named: dict[str, Candidate] = {}
    if asked.answer is not None:
        named[PROPOSED] = asked.answer
    sign = -1.0 if asked.objective.maximise else 1.0
    ranking = sorted(
        (candidate for candidate in asked.candidates if candidate.score.feasible),
        key=lambda candidate: sign * candidate.score.value,
    )
    if findings.measured:
        # Those that were ended early are known to be worse than the best, and no more.
        whole = [one for one in ranking if one.metrics.ended is None]
        named.update(zip((SECOND, THIRD), whole[1:3], strict=False))
    elif ranking:
        named[BEST] = ranking[0]
    named.update(findings.references)
    unique: dict[str, Candidate] = {}
    for name, candidate in named.items():
        if all(candidate.settings != other.settings for other in unique.values()):
            unique[name] = candidate
    return unique
