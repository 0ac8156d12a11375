"""A device that is simulated, and charges for its time: what `dynbatch tune` does on one, and what
a search without a profile does.

A run of W seconds costs 1.15 W + 2.5 s, as `bench.tuning.device.verification` plans it: arrivals go
on past the window, and a run is set up and written down.
"""

from dataclasses import dataclass, replace
from math import inf, log, log1p

from bench.simulation.setup import Setup
from bench.tuning.budget import CONFIRM_DRAWS, MOST_RACE_DRAWS, OVERHEAD_S, affordable_window_s
from bench.tuning.device.race import Measured, Race
from bench.tuning.device.verification import RACE_SHARE, TAIL, VERIFIED_AT
from bench.tuning.search.objectives import DeviceTime
from bench.tuning.search.selection import TIE, simplicity
from bench.tuning.simulated.simulator import SimulationBudget

BUDGET_S, PROFILE_S = 300.0, 20.0
_FRESH = 500_009


class Device:
    """Runs settings one at a time, each under arrivals that nobody has seen.

    Args:
        objective: what is measured: the latency statistic, or device time per request.
        limit: the SLO, if there is one.
        source: batch times: the truth, which on this device the profile has got right.
        traffic: the arrivals.
        window_s: length of a run.
    """

    def __init__(self, objective, limit, source, traffic, window_s):
        self.objective, self.limit = objective, limit
        self.source, self.traffic = source, traffic
        self.window_s = window_s
        self.spent_s = 0.0
        self._runs = 0

    @property
    def run_s(self):
        """What a run costs."""
        return TAIL * self.window_s + OVERHEAD_S

    def run(self, settings, draw, number):
        """Serve a draw; `number` decides the batch times."""
        self.spent_s += self.run_s
        outcome = Setup(settings, self.source).outcome(draw, number)
        excess = 0.0
        if self.limit is not None:
            reached_s = self.limit.statistic.of([outcome])
            excess = log(reached_s / self.limit.limit_s) if reached_s < inf else inf
        if isinstance(self.objective, DeviceTime):
            return Measured(outcome.device_s_per_request, excess)
        statistic = getattr(self.objective, "statistic", None) or self.limit.statistic
        value = statistic.of([outcome])
        return Measured(value if value < inf else None, excess)

    def measure(self, settings, seed):
        """One measurement under fresh arrivals, at the trace's load."""
        return self.run(settings, self._fresh(seed), _FRESH + self._runs)

    def capacity_rps(self, settings, seed, ratio=1.05):
        """The highest load at which one run meets the SLO: doubled or halved, then bisected."""
        load_rps = self.traffic.rate_rps / self.traffic.replay.time_scale
        low_rps, high_rps = None, None
        while low_rps is None or high_rps is None or high_rps > ratio * low_rps:
            met = self.run(settings, self._fresh(seed, load_rps), _FRESH + self._runs).excess <= 0.0
            low_rps, high_rps = (load_rps, high_rps) if met else (low_rps, load_rps)
            if low_rps is None:
                if load_rps < 0.01 * self.source.peak_rps:
                    return 0.0
                load_rps = high_rps / 2.0
            else:
                load_rps = 2.0 * low_rps if high_rps is None else (low_rps * high_rps) ** 0.5
        return low_rps

    def _fresh(self, seed, load_rps=None):
        self._runs += 1
        traffic = replace(self.traffic, seed=_FRESH + 10_007 * seed + self._runs)
        rate_rps = None if load_rps is None else load_rps * traffic.replay.time_scale
        return traffic.draws(0, 1, window_s=self.window_s, rate_rps=rate_rps)[0]


@dataclass(frozen=True)
class Handed:
    """What a tuning hands over in the end.

    Attributes:
        settings: of the batcher.
        spent_s: device time in all, the profile included.
        draws: under how many draws the winner was run.
        run_s: what a run cost.
        window_s: length of one.
        outcome: of the race: who won it, or that nobody seemed to meet the SLO.
    """

    settings: object
    spent_s: float
    draws: int
    run_s: float
    window_s: float
    outcome: str


def raced(question, source, traffic, goal):
    """Race and confirmation as in `bench.tuning.device.verification`, on the simulated device.

    Args:
        question: what is asked.
        source: batch times.
        traffic: the arrivals.
        goal: what was found in simulation.
    """
    objective, limit, at = question.asked, question.limit, traffic
    if objective.name == "capacity":
        at = traffic.at(VERIFIED_AT * goal.answer.score.value * traffic.replay.time_scale
                        / traffic.rate_rps)  # fmt: skip
    offered_rps = at.rate_rps / traffic.replay.time_scale
    arms = {
        name: settings
        for name, settings in _arms(goal, question.references(source)).items()
        if Setup(settings, source).limit_rps() > offered_rps
    }
    budget_s = BUDGET_S - PROFILE_S
    asked_s = at.draws(0, 1)[0].window_s
    window_s = min(asked_s, affordable_window_s(budget_s, len(arms)))
    device = Device(objective, limit, source, at, window_s)
    first = 2 * SimulationBudget().most
    draws = at.draws(first, MOST_RACE_DRAWS + CONFIRM_DRAWS[1], window_s=window_s)
    race = Race(list(arms), MOST_RACE_DRAWS)
    _play(race, device, arms, draws, RACE_SHARE * budget_s)
    winner = race.winner(lambda name: simplicity(arms[name]))
    outcome = f"{winner} won"
    if winner is None:
        winner, outcome = "recommended", "none met the SLO"
    others = [name for name in ("default",) if name in arms and name != winner]
    each_s = device.run_s * (1 + len(others))
    count = min(CONFIRM_DRAWS[1], int((budget_s - device.spent_s) / each_s))
    confirmation = Race([winner, *others], count, seed=1, drop=False)
    _play(confirmation, device, arms, draws[MOST_RACE_DRAWS:], inf)
    final = winner
    for name in others:
        effect = confirmation.effect(winner, name, 0.05)
        missed = sum(one.excess for one in race.of(name)) > log1p(TIE) * len(race.of(name))
        if effect is not None and effect.high >= 0.0 and not (missed or name in race.dropped):
            final, outcome = name, f"kept {name}"  # no gain was shown
    return Handed(
        settings=arms[final],
        spent_s=PROFILE_S + device.spent_s,
        draws=len(race.of(winner)) + count,
        run_s=device.run_s,
        window_s=window_s,
        outcome=outcome,
    )


def _arms(goal, references):
    """The settings that race, each under the first of its names."""
    feasible = [candidate for candidate in goal.candidates if candidate.score.feasible]
    sign = -1.0 if goal.objective.maximise else 1.0
    best = min(feasible, key=lambda candidate: sign * candidate.score.value, default=goal.answer)
    named = {"recommended": goal.answer.settings, "best simulated": best.settings, **references}
    unique = {}
    for name, settings in named.items():
        if settings not in unique.values():
            unique[name] = settings
    return unique


def _play(race, device, arms, draws, budget_s):
    """Run a race until it is over, or until its next draw would not fit the budget."""
    began_s = device.spent_s
    while (asked := race.ask()) is not None:
        took_s = device.spent_s - began_s
        starts = not any(len(race.of(arm)) > asked.draw for arm in race.arms)
        if starts and asked.draw >= 2 and took_s + device.run_s * len(race.alive) > budget_s:
            return
        race.tell(asked, device.run(arms[asked.arm], draws[asked.draw], _FRESH + asked.draw))
