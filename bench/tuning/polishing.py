"""Settings near the best one: what a sampler of the whole space is slow to try.

TPE finds the region soon and then samples it by density. On a plateau, as where a batch always
fills before its timeout, all that it sees is equal, and an edge that drops a few percent further
down may lie many steps away. So half of its trials go to a pattern search (Hooke and Jeeves, 1961)
around the best setting so far: one knob at a time, by long steps and by short ones, then batch size
and timeout together, since along an SLO a smaller batch allows a longer wait.

The same is done once more at the end, on the draws that decide: those of the search are few, and
where batch times have tails they tell 5 % apart no better than chance does.
"""

from collections.abc import Callable, Sequence

from bench.settings import BatcherSettings
from bench.tuning.search.neighbours import SHORT, neighbours
from bench.tuning.search.objectives import Objective
from bench.tuning.search.selection import Candidate
from bench.tuning.search.space import Space


def look_around(
    candidates: "Sequence[Candidate]",
    space: Space,
    objective: "Objective",
    judge: "Callable[[BatcherSettings], Candidate]",
    *,
    most: int,
    may_judge: "Callable[[BatcherSettings], bool]" = lambda _: True,
) -> "list[Candidate]":
    """Judge neighbours of the best candidate, and of whatever turns out to be better.

    Args:
        candidates: those that were judged; if none is feasible, there is nothing to look around.
        space: what is searched.
        objective: for its direction.
        judge: looks closely at a setting.
        most: how many to judge at most.
        may_judge: whether there is time for a setting; it ends with the first for which there is
            none.

    Returns:
        The candidates, with those that were judged.
    """
    sign = -1.0 if objective.maximise else 1.0
    judged = list(candidates)
    known = [candidate.settings for candidate in judged]
    while len(judged) < len(candidates) + most:
        feasible = [candidate for candidate in judged if candidate.score.feasible]
        best = min(feasible, key=lambda one: sign * one.score.value, default=None)
        knobs = None if best is None else space.knobs_of(best.settings)
        if knobs is None:
            break
        around = map(space.settings, neighbours(space, knobs, SHORT))
        settings = next((one for one in around if one not in known), None)
        if settings is None or not may_judge(settings):
            break
        known.append(settings)
        judged.append(judge(settings))
    return judged
