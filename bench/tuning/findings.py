"""What a search found, in simulation or on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.tuning.search.objectives import Objective
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import Candidate, Flatness
from results.tuning.record import Case


@dataclass(frozen=True)
class Goal:
    """What was found for one objective.

    Attributes:
        objective: it.
        trials: every setting that the search tried.
        candidates: those that were re-evaluated.
        chosen: the setting that the search proposes; None if none meets the SLO.
        nearest: what comes nearest to meeting it, where none does.
        flat: how much the choice matters.
    """

    objective: Objective
    trials: Sequence[Finished]
    candidates: Sequence[Candidate]
    chosen: Candidate | None
    nearest: Candidate | None
    flat: Flatness

    @property
    def answer(self) -> Candidate | None:
        """The setting that the search proposes, or what comes nearest."""
        return self.chosen or self.nearest


@dataclass(frozen=True)
class Findings:
    """All that was found in simulation.

    Attributes:
        goals: by name, the one that was asked for first.
        references: the settings to be beaten, re-evaluated by the objective asked for.
        front: trials that none beats in latency without costing more device time.
        load: what was offered, as the trace describes itself.
        bound: what no setting can beat.
        cases: the setting that the search proposes at other loads, and under a calmer and a
            burstier version of the trace.
        measured: whether all this was measured on the device, and not simulated.
        remarks: what has to be said of the search.
        capacities: of the best of each goal and of the references, as JSON -> the load at which it
            just meets the SLO, requests per second; empty without one.
    """

    goals: Mapping[str, Goal]
    references: Mapping[str, Candidate]
    front: Sequence[Finished]
    load: Mapping[str, Any]
    bound: Mapping[str, float]
    cases: tuple[Case, ...] = ()
    measured: bool = False
    remarks: tuple[str, ...] = ()
    capacities: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> Goal:
        """The goal that was asked for."""
        return next(iter(self.goals.values()))
