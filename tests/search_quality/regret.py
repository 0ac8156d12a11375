"""How far a recommendation is from the best of an exhaustive grid, on draws that neither saw.

The draws of the truth are of another seed than the search's. The grid's best is chosen on one half
of them; it and everything else are judged on the other. Regret is value / best - 1, or 1 - value /
best where more is better; below 0 the search beat the grid. A setting that misses the SLO by more
than 2 % there, or cannot carry the load, is of no use, whatever its value: its regret is infinite.
"""

from dataclasses import dataclass, field
from math import exp, inf, isfinite, log

import numpy as np
import optuna

from bench.tuning.request import Question
from bench.tuning.simulated.search import SimulatedSearch
from bench.tuning.simulated.simulator import SimulationBudget
from results.tuning.record import NO_DELAY
from tests.search_quality.baselines import SEARCHES, Search
from tests.search_quality.device import Device, raced
from tests.search_quality.truth import Truth

ALLOWED = 0.02
# A first look at few draws and rough steps of load; who is this far behind then is not the best.
GLANCE, HOPELESS, MOST_HOPEFUL, ROUGHLY = 16, 0.1, 24, 1.01


@dataclass(frozen=True)
class Case:
    """What is asked, and of what.

    Attributes:
        question: the objective, and how long to look.
        source: batch times: both what is searched with and the truth.
        traffic: the arrivals.
        draws: of the truth, both halves together.
        window_s: length of each.
        sizes, timeouts: of the grid.
        effort: of the search.
        seeds: how many searches of each other kind.
    """

    question: Question
    source: object
    traffic: object
    draws: int
    window_s: float
    sizes: int = 9
    timeouts: int = 10
    effort: SimulationBudget = field(default_factory=SimulationBudget)
    seeds: int = 5

    @property
    def objective(self):
        """The one that is asked for: only it is judged."""
        return self.question.asked

    def search(self):
        """Stage 1 of a tuning: in simulation."""
        references = self.question.references(self.source)
        search = SimulatedSearch(
            self.question,
            self.source,
            self.traffic,
            optuna.storages.InMemoryStorage(),
            "regret",
            effort=self.effort,
        )
        name = next(iter(self.question.goals))
        return search._goal(name, self.objective, list(references.values()), [])

    def race(self, goal):
        """Stage 2: on the device."""
        return raced(self.question, self.source, self.traffic, goal)

    def others(self, budget_s, window_s):
        """What searches without a profile hand over: name -> a (setting, trials) for each seed."""
        space = self.question.space(self.source, self.objective)
        delays_ms = tuple(dict.fromkeys(c.batch_timeout_ms for c in self.cells()))
        found = {}
        for name in SEARCHES:
            for seed in range(self.seeds):
                device = Device(
                    self.objective, self.question.limit, self.source, self.traffic, window_s
                )
                search = Search(space, delays_ms, device, budget_s, seed)
                found.setdefault(name, []).append(search.run(name))
        return found

    def cells(self):
        """The grid."""
        space = self.question.space(self.source, self.objective)
        return grid(space, self.sizes, self.timeouts)

    def truth(self):
        """What knows better."""
        return Truth(
            self.objective, self.question.limit, self.source, self.traffic, self.draws,
            self.window_s,
        )  # fmt: skip


@dataclass(frozen=True)
class Surface:
    """The grid, judged on one half of the draws.

    Attributes:
        best: its best setting.
        value: of that.
        near: share of the cells that qualify within 2, 5 and 20 % of it.
        cells: how many there are, and how many qualify.
        spread: between the best and the worst that qualifies, as a ratio.
    """

    best: object
    value: float
    near: tuple[float, float, float]
    cells: tuple[int, int]
    spread: float


def surface(case, truth):
    """Sweep the grid; cells far behind at a first look are not looked at again."""
    cells = case.cells()
    sign = -1.0 if case.objective.maximise else 1.0
    first = truth.judge(cells, 0, draws=GLANCE, step=ROUGHLY)
    able = [(sign * log(one.value), i) for i, one in enumerate(first) if _qualifies(one)]
    leading = min(able)[0]
    hopeful = [i for value, i in sorted(able) if value - leading <= HOPELESS][:MOST_HOPEFUL]
    near = [first[i].value for i in hopeful]
    again = truth.judge([cells[i] for i in hopeful], 0, near=near)
    met = [(sign * one.value, i) for one, i in zip(again, hopeful, strict=True) if one.usable]
    value, best = min(met)
    behind = sorted(value - leading for value, _ in able)
    return Surface(
        best=cells[best],
        value=abs(value),
        near=tuple(sum(d <= log(1 + t) for d in behind) / len(behind) for t in (0.02, 0.05, 0.2)),
        cells=(len(cells), len(behind)),
        spread=exp(behind[-1]),
    )


def judged(case, truth, flat, settings):
    """Regret of each setting, and by how much each misses the SLO, on the other half."""
    unique = list({one.model_dump_json(): one for one in [flat.best, *settings]}.values())
    near = [flat.value] * len(unique) if case.objective.name == "capacity" else ()
    known = dict(
        zip(
            [one.model_dump_json() for one in unique],
            truth.judge(unique, 1, near=near),
            strict=True,
        )
    )
    best = known[flat.best.model_dump_json()].value
    return [
        (_regret(one, best, case.objective.maximise), one.excess)
        for one in (known[its.model_dump_json()] for its in settings)
    ]


def _regret(one, best, maximise):
    if not _qualifies(one):
        return inf
    return 1.0 - one.value / best if maximise else one.value / best - 1.0


def _qualifies(one):
    return one.excess <= ALLOWED and 0.0 < one.value < inf


def report(case):
    """Everything about one case, JSON-able; null stands for a regret that is infinite."""
    goal = case.search()
    handed = case.race(goal)
    others = case.others(handed.spent_s, handed.window_s)
    truth = case.truth()
    flat = surface(case, truth)
    plain = case.question.references(case.source)[NO_DELAY]
    picks = [one for found in others.values() for one, _ in found]
    (mine, simulated, simple, *theirs) = judged(
        case, truth, flat, [handed.settings, goal.answer.settings, plain, *picks]
    )
    regrets = iter(theirs)
    grid_s = flat.cells[0] * handed.draws * handed.run_s
    return {
        "trials": len(goal.trials),
        "handed over": said(handed.settings),
        "regret": _known(mine[0]),
        "slo missed by": _known(max(0.0, mine[1])),
        "simulated": said(goal.answer.settings),
        "regret as simulated": _known(simulated[0]),
        "plain": said(plain),
        "regret of plain": _known(simple[0]),
        "best of grid": said(flat.best),
        "cells": flat.cells[0],
        "cells that qualify": flat.cells[1],
        "cells within 2, 5, 20 %": flat.near,
        "worst cell": flat.spread,
        "on the device": handed.outcome,
        "device_s": handed.spent_s,
        "window_s": handed.window_s,
        "draws of the winner": handed.draws,
        "grid_s": grid_s,
        "cost": handed.spent_s / grid_s,
        "others": {
            name: {
                "regrets": [_known(next(regrets)[0]) for _ in found],
                "trials": int(np.median([trials for _, trials in found])),
                "handed over": [said(one) for one, _ in found],
            }
            for name, found in others.items()
        },
    }


def search_regret(case):
    """What the search in simulation finds, without race and rivals: regret and SLO excess."""
    truth = case.truth()
    goal = case.search()
    return judged(case, truth, surface(case, truth), [goal.answer.settings])[0]


def _known(value):
    return value if isfinite(value) else None


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
