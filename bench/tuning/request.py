"""What a command line asks of a tuning, kept so that it need not be said again on resuming."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from batching.execution.devices import ENGINES, resolve_placement
from batching.models.synthetic import SyntheticModel
from batching.policies import PolicyOptions, make_policy
from batching.profiles import load_profile
from bench.errors import InputError
from bench.profiling.service_times import Source
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    Settings,
    load_settings,
)
from bench.tuning.budget import OVERHEAD_S, SHORTEST_S, TAIL, runs_planned
from bench.tuning.search.engines import (
    Engine,
    Setting,
    engines_among,
    implied_by,
    setting_of,
)
from bench.tuning.search.objectives import (
    CapacityWithin,
    DeviceTime,
    Energy,
    Latency,
    Limit,
    Objective,
    Statistic,
    make_objective,
)
from bench.tuning.search.sampler import PATIENCE, TRIALS
from bench.tuning.search.space import (
    ENGINE,
    Choice,
    Space,
    largest_useful_batch,
    make_space,
    parse_search,
    typical_s,
)
from results.tuning.record import CURRENT, DEFAULT, NO_DELAY, WINDOW

FASTEST, CHEAPEST, MOST_CAPACITY = "fastest", "cheapest", "most capacity"


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

        `no delay` is timeout 0 with the largest useful batch, `default` what the batcher does
        unless told otherwise, `window` the timer that most hand-written batchers are, with the same
        numbers, and `current` what the user has now. Where engines are searched, all but `current`
        are in the one that the model is run by today.
        """
        limit_s = float("inf") if self.limit is None else self.limit.limit_s
        if typical_s(source, 1) > limit_s:
            limit_s = float("inf")  # nothing meets it, and the no-delay baseline is as good as any
        size = largest_useful_batch(source, limit_s)
        usual = BatcherSettings()
        most = min(usual.max_batch_size, source.max_batch_size)
        default: dict[str, Any] = {
            "policy": usual.policy,
            "max_batch_size": most,
            "batch_timeout_ms": usual.batch_timeout_ms,
        }
        named: dict[str, Mapping[str, Any]] = {
            NO_DELAY: {"policy": "timeout", "max_batch_size": size, "batch_timeout_ms": 0.0},
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


REQUEST = "request.json"
BUDGET_S = 300.0
# Fewer than so many trials on the device are no search.
_LEAST_TRIALS = 8


class Request(BaseModel):
    """What a command line asks for; kept, so that it need not be said again on resuming.

    Attributes:
        settings: model, load, SLO, and the batcher's knobs that are not searched.
        current: the batcher's settings that the user has now.
        objective, percentile, search, trials, patience, seed: see `Question`.
        budget_s: time in all: profile, search, race and confirmation.
        race: whether the device is used for more than a profile.
        simulate: whether settings are searched in simulation, and not on the device.
        storage: URL of the studies; None for a journal in the folder. Never kept with its password.
        profiles: files, one for each engine; none measures now.
        profile_budget_s: time for each that is measured now.
        force: use a profile of something else all the same.
        model_named: whether the model was asked for, or is the default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Settings
    current: Setting | BatcherSettings | None = None
    objective: str | None = None
    percentile: str | None = None
    search: tuple[str, ...] = ()
    trials: int = TRIALS
    patience: int = PATIENCE
    seed: int = 0
    budget_s: float = BUDGET_S
    race: bool = True
    simulate: bool = True
    storage: str | None = None
    profiles: tuple[Path, ...] = ()
    profile_budget_s: float = 20.0
    force: bool = False
    model_named: bool = True

    def question(self) -> Question:
        """What is asked, checked.

        Raises:
            InputError: an option is out of its range, or an SLO is not one on latency.
        """
        for name, value in (("trials", self.trials), ("patience", self.patience)):
            if value < 1:
                raise InputError(f"{name} must be >= 1, but got {value}")
        limit = limit_of(self.settings.slo.slo)
        statistic = Statistic() if limit is None else limit.statistic
        if self.percentile is not None:
            statistic = Statistic.parse(self.percentile)
        base, current = self.settings.batcher, self.current
        if self.searches_engines:
            first = self.engines[0]
            base = setting_of(base, first)
            if current is not None and not isinstance(current, Setting):
                current = setting_of(current, first)
        question = Question(
            base=base,
            current=current,
            objective=self.objective,
            statistic=statistic,
            limit=limit,
            search=self.search,
            trials=self.trials,
            patience=self.patience,
            seed=self.seed,
        )
        self._check_device(question)
        self._check_policies(question)
        if self.race:  # a budget that is too small is found before anything is spent
            self._check_budget()
        return question

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines whose batch times are needed, the one that is there already first.

        Raises:
            InputError: `--search` cannot be read, or names sizes that no engine captures.
        """
        ranges = parse_search(self.search)
        searched = {name: its.values for name, its in ranges.items() if isinstance(its, Choice)}
        return engines_among(searched, self.settings.model, self.current)

    @property
    def searches_engines(self) -> bool:
        """Whether settings say which engine they are for."""
        return len(self.engines) > 1 or any(name in parse_search(self.search) for name in ENGINE)

    @property
    def profiles_s(self) -> float:
        """What measuring the profiles takes, seconds; 0 if they are there."""
        return 0.0 if self.profiles else self.profile_budget_s * len(self.engines)

    def _check_policies(self, question: Question) -> None:
        """Find a policy that there is not, or that lacks its SLO, before anything is measured."""
        policies = parse_search(self.search).get("policy")
        slo_s = None if question.limit is None else question.limit.limit_s
        if slo_s is None and self.settings.batcher.slo_ms is not None:
            slo_s = self.settings.batcher.slo_ms / 1e3
        for name in policies.values if isinstance(policies, Choice) else ():
            make_policy(
                str(name), PolicyOptions(max_batch_size=1, batch_timeout_s=0.0, slo_s=slo_s)
            )

    def _check_budget(self) -> None:
        left_s = self.budget_s - self.profiles_s
        trials = 0 if self.simulate else _LEAST_TRIALS
        run_s = TAIL * SHORTEST_S + OVERHEAD_S
        least_s = self.budget_s - left_s + (runs_planned(4) + trials) * run_s
        if self.budget_s < least_s:
            what, instead = "search on the device, race and confirm", ""
            if self.simulate:
                what, instead = "race and confirm", ": give more, or --no-race"
            raise InputError(
                f"budget must be at least {least_s:.0f} s to {what}, but got "
                f"{self.budget_s:.0f} s{instead}"
            )

    def _check_device(self, question: Question) -> None:
        """Refuse what only a device can do where it is not to be used, and the other way round."""
        objective = question.asked
        if isinstance(objective, Energy) and not self.race:
            raise InputError("objective energy must be measured, but got --no-race")
        if self.simulate:
            return
        if not self.race:
            raise InputError("one of --no-simulate and --no-race must be left out, but got both")
        if isinstance(objective, CapacityWithin):
            raise InputError(
                "objective must be latency, device-time, goodput or energy with --no-simulate, as "
                "a capacity takes many loads to measure, but got capacity"
            )


def limit_of(texts: tuple[str, ...]) -> Limit | None:
    """The one SLO on latency that a search can be for.

    Raises:
        InputError: there are several, or it is on something else.
        InvalidInputError: it is none.
    """
    from results.run.slo import Kind, Slo

    if not texts:
        return None
    if len(texts) > 1:
        raise InputError(f"slo must be a single one for a search, but got {', '.join(texts)}")
    slo = Slo.parse(texts[0], (Kind.LATENCY,))
    return Limit(Statistic(slo.objective.level), slo.limit)


def of_profiles(
    settings: Settings, paths: Sequence[Path], search: Sequence[str]
) -> tuple[Settings, tuple[str, ...]]:
    """What is asked with these profiles: the model in the engine that they are of, and the search.

    Of several profiles, the first is of the engine that is there today, and all are searched.

    Raises:
        InputError: they differ in more than their engine.
        ProfileError: one cannot be read.
    """
    if not paths:
        return settings, tuple(search)
    subjects = [load_profile(path).subject for path in paths]
    first = Engine.of(subjects[0])
    if "engine" not in settings.model.model_fields_set and first.name in ENGINES:
        settings = settings.model_copy(update={"model": first.running(settings.model)})
    return settings, implied_by(subjects, search)


def read_current(path: Path | None, model: ModelSettings) -> BatcherSettings | None:
    """The setting that somebody has now, with its engine if that is not the model's; from TOML.

    Raises:
        InputError: the file cannot be read, or a value is unknown or out of its range.
    """
    if path is None:
        return None
    known = load_settings(path, {})
    engine = Engine.of(known.model)
    if "engine" not in known.model.model_fields_set or engine == Engine.of(model):
        return known.batcher
    return setting_of(known.batcher, engine)


def read_request(folder: Path) -> Request:
    """What was asked of the tuning in a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / REQUEST
    try:
        return Request.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"resume must name the folder of a tuning, but there is no {path}"
        ) from None
    except (ValidationError, ValueError) as error:
        fault = str(error).partition("\n")[0]
        raise InputError(f"{path} must be what dynbatch tune wrote, but {fault}") from None


def require_energy_counter(settings: ModelSettings) -> None:
    """Check that the model runs on a GPU whose driver counts the energy it takes.

    Raises:
        InputError: it runs elsewhere, or on a GPU without such a counter.
        ConfigError: there is no such model or device.
    """
    from batching import RealClock, load_model
    from bench.hardware.nvml import Gpu

    expected = "objective energy must be on a GPU with an energy counter (NVML)"
    placement = resolve_placement(settings.device.split(",")[0].strip(), settings.dtype)
    model = load_model(settings.model, clock=RealClock(), weights=settings.weights)
    if isinstance(model, SyntheticModel):
        raise InputError(f"{expected}, but got {model.name}, which runs on none")
    if not placement.is_cuda:
        raise InputError(f"{expected}, but got {placement.device}")
    gpu = Gpu(int(placement.device.partition(":")[2]))
    if not isfinite(gpu.sample()["gpu_energy_j"]):
        raise InputError(f"{expected}, but got {placement.device}, which does not count")
