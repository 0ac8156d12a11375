"""What a tuning is asked: the objective, the SLO, the space, and how long to look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.profiling.service_times import Source
from bench.settings import BatcherSettings
from bench.tuning.search.objectives import (
    CapacityWithin,
    DeviceTime,
    Latency,
    Limit,
    Objective,
    Statistic,
    make_objective,
)
from bench.tuning.search.sampler import PATIENCE, TRIALS
from bench.tuning.search.space import (
    Space,
    largest_useful_batch,
    make_space,
    typical_s,
)

FASTEST, CHEAPEST, MOST_CAPACITY = "fastest", "cheapest", "most capacity"
PLAIN, DEFAULT, CURRENT, WINDOW = "plain", "default", "current", "window"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        base: the batcher's settings where nothing is searched.
        current: those that the user has now, if known.
        objective: by name; None for the default.
        statistic: of latency.
        limit: the SLO, if there is one.
        search: as `--search` gives it.
        trials, patience: of the search; see `Tuner`.
        seed: of the search.
    """

    base: BatcherSettings = field(default_factory=BatcherSettings)
    current: BatcherSettings | None = None
    objective: str | None = None
    statistic: Statistic = field(default_factory=Statistic)
    limit: Limit | None = None
    search: tuple[str, ...] = ()
    trials: int = TRIALS
    patience: int = PATIENCE
    seed: int = 0

    @property
    def asked(self) -> Objective:
        """The objective.

        Raises:
            InputError: there is none of that name, or it needs an SLO.
        """
        return make_objective(self.objective, self.statistic, self.limit)

    @property
    def goals(self) -> dict[str, Objective]:
        """Every setting that is to be named, the one asked for first.

        With simulation the others cost little, and knowing what they would give is worth it.
        """
        named: dict[str, Objective] = {FASTEST: Latency(self.statistic)}
        if self.limit is not None:
            named[CHEAPEST] = DeviceTime(self.limit)
            named[MOST_CAPACITY] = CapacityWithin(self.limit)
        asked = self.asked
        names = {objective.name: name for name, objective in named.items()}
        first = names.get(asked.name, asked.name)
        return {first: asked, **{k: v for k, v in named.items() if k != first}}

    def space(self, source: Source, objective: Objective) -> Space:
        """What is searched for an objective.

        Raises:
            InputError: the space is empty or contradicts itself.
        """
        return make_space(
            self.search,
            self.base,
            source,
            slo_s=None if self.limit is None else self.limit.limit_s,
            patient=isinstance(objective, DeviceTime),
        )

    def references(self, source: Source) -> dict[str, BatcherSettings]:
        """The settings that any recommendation has to beat.

        `plain` is timeout 0 with the largest useful batch, `default` what the batcher does unless
        told otherwise, `window` the timer that most hand-written batchers are, with the same
        numbers, and `current` what the user has now. Where engines are searched, all but `current`
        are in the one that the model is run by today.
        """
        limit_s = float("inf") if self.limit is None else self.limit.limit_s
        if typical_s(source, 1) > limit_s:
            limit_s = float("inf")  # nothing meets it, and the plain setting is as good as any
        size = largest_useful_batch(source, limit_s)
        usual = BatcherSettings()
        most = min(usual.max_batch_size, source.max_batch_size)
        default: dict[str, Any] = {
            "policy": usual.policy,
            "max_batch_size": most,
            "batch_timeout_ms": usual.batch_timeout_ms,
        }
        named: dict[str, Mapping[str, Any]] = {
            PLAIN: {"policy": "timeout", "max_batch_size": size, "batch_timeout_ms": 0.0},
            DEFAULT: default,
            WINDOW: {**default, "policy": "window"},
        }
        fixed = self.base.model_dump(exclude={"min_wait_ms", "preferred_batch_sizes"})
        references = {
            name: type(self.base).model_validate({**fixed, **knobs})
            for name, knobs in named.items()
        }
        if self.current is not None:
            references[CURRENT] = self.current
        return references

    def describe(self) -> dict[str, Any]:
        """What identifies it, JSON-able."""
        return {
            "base": self.base.model_dump(mode="json"),
            "objective": self.asked.name,
            "statistic": str(self.statistic),
            "slo": None if self.limit is None else str(self.limit),
            "search": list(self.search),
            "seed": self.seed,
        }
