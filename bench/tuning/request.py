"""What a command line asks of a tuning, kept so that it need not be said again on resuming."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from batching.policies import PolicyOptions, make_policy
from bench.config import BatcherSettings, Settings
from bench.errors import InputError
from bench.tuning.device import OVERHEAD_S, runs_planned
from bench.tuning.direct import SHORTEST_S, TAIL
from bench.tuning.objectives import CapacityWithin, Energy, Limit, Statistic
from bench.tuning.question import Question
from bench.tuning.search import PATIENCE, TRIALS
from bench.tuning.space import Choice, parse_search

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
        profile: a file; None measures now.
        profile_budget_s: time for that.
        force: use a profile of something else all the same.
        model_named: whether the model was asked for, or is the default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Settings
    current: BatcherSettings | None = None
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
    profile: Path | None = None
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
        question = Question(
            base=self.settings.batcher,
            current=self.current,
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
        left_s = self.budget_s - (self.profile_budget_s if self.profile is None else 0.0)
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
    from results.slo import Kind, Slo

    if not texts:
        return None
    if len(texts) > 1:
        raise InputError(f"slo must be a single one for a search, but got {', '.join(texts)}")
    slo = Slo.parse(texts[0])
    if slo.objective.kind is not Kind.LATENCY:
        raise InputError(f"slo must be on latency for a search, such as p99<=50ms, but got {slo}")
    return Limit(Statistic(slo.objective.level), slo.limit)


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
