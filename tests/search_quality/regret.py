"""How far a recommendation is from the best of an exhaustive grid, on draws that neither saw.

The draws of the truth are of another seed than the search's. The grid's best is chosen on one half
of them; it and the recommendation are judged on the other. Regret is recommended / best - 1, or
1 - recommended / best where more is better; below 0 the search beat the grid.
"""

from dataclasses import dataclass, replace
from math import exp, log

import optuna

from bench.tuning.evaluation import Simulator
from bench.tuning.question import Question
from bench.tuning.simulated import Effort, SimulatedSearch

# Cells this far behind the best on the first draws are not worth the rest of them.
HOPELESS = 0.1


@dataclass(frozen=True)
class Regret:
    """What came of one search.

    Attributes:
        regret: as the module's docstring has it.
        slo: how far the recommendation misses the SLO on the draws it is judged on; 0 or less: not.
        recommended, best: settings of search and grid.
        near: share of the grid's cells within 2, 5 and 20 % of its best, of those that qualify.
        cells: how many qualify.
        spread: between the best and the worst of them, as a ratio.
        trials: settings that were searched.
    """

    regret: float
    slo: float
    recommended: str
    best: str
    near: tuple[float, float, float]
    cells: int
    spread: float
    trials: int


def search_regret(question, source, traffic, *, draws, window_s, first=20, sizes=9, timeouts=10,
                  effort=None):  # fmt: skip
    """Search, sweep a grid, and compare the two on draws of their own."""
    effort = effort or Effort()
    # Only the goal that is asked for is judged.
    search = SimulatedSearch(
        question, source, traffic, optuna.storages.InMemoryStorage(), "regret", effort=effort
    )
    objective = question.asked
    name = next(iter(question.goals))
    goal = search._goal(name, objective, list(question.references(source).values()), asked=True)
    truth = replace(traffic, seed=traffic.seed + 1_000_003)
    half = draws // 2

    def look(begin, count):
        sim = Simulator(source, truth, begin, count, window_s=window_s, step=1.0025)
        if question.limit is not None and objective.name == "capacity":
            sim.begin_at(goal.answer.settings, question.limit)
        return lambda settings: objective.score(sim.evidence(settings))

    sign = -1.0 if objective.maximise else 1.0
    cells = grid(question.space(source, objective), sizes, timeouts)
    glance, choose, judge = look(0, first), look(0, half), look(half, draws - half)
    scores = [(cell, score) for cell in cells if (score := glance(cell)).feasible]
    leading = min(sign * log(score.value) for _, score in scores)
    behind = sorted((sign * log(score.value) - leading, i) for i, (_, score) in enumerate(scores))
    hopeful = [scores[i][0] for distance, i in behind if distance <= HOPELESS][:24]
    chosen = [(cell, score) for cell in hopeful if (score := choose(cell)).feasible]
    best = min(chosen, key=lambda entry: sign * entry[1].value)[0]
    recommended = goal.answer.settings
    mine, its = judge(recommended), judge(best)
    ratio = mine.value / its.value
    distances = [distance for distance, _ in behind]
    return Regret(
        regret=1.0 - ratio if objective.maximise else ratio - 1.0,
        slo=mine.violations.get("slo", 0.0),
        recommended=said(recommended),
        best=said(best),
        near=tuple(
            sum(distance <= log(1 + tie) for distance in distances) / len(distances)
            for tie in (0.02, 0.05, 0.2)
        ),
        cells=len(distances),
        spread=exp(distances[-1]),
        trials=len(goal.trials),
    )


def grid(space, sizes, timeouts):
    """Settings on a grid over the space: batch sizes geometric, timeouts linear, both ends in."""
    size, timeout = space.ranges["max_batch_size"], space.ranges["batch_timeout_ms"]
    largest = {round(size.low * (size.high / size.low) ** (i / (sizes - 1))) for i in range(sizes)}
    steps = round((timeout.high - timeout.low) / timeout.step)
    waits = [
        timeout.low + timeout.step * round(steps * i / (timeouts - 1)) for i in range(timeouts)
    ]
    return [
        space.settings({"max_batch_size": b, "batch_timeout_ms": round(t, 9)})
        for b in sorted(largest)
        for t in waits
    ]


def said(settings):
    """A setting in short."""
    return f"{settings.max_batch_size} / {settings.batch_timeout_ms:g} ms"


def question_of(objective, limit=None, **asked):
    """A question for one objective."""
    return Question(objective=objective, limit=limit, **asked)
