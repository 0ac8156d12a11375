"""One tuning in its folder, from what was asked to a recommendation, or on from where it stopped.

The folder holds `request.json` (what was asked), `profile.json` (batch times, where they were
measured), the studies' journal, a folder for each run on the device, and at the end `tune.json` and
`recommended.toml`. Whatever is there already is not made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from batching import Clock
from batching.errors import ConfigError
from batching.profiles import save_profile
from bench.comparison.arms import Arm
from bench.comparison.live import LiveArms
from bench.config import BatcherSettings, Settings
from bench.errors import InputError
from bench.profiling import load_subject
from bench.simulation.loading import Loaded, load_source, matching
from bench.tuning.choosing import Candidate
from bench.tuning.device import (
    VERIFIED_AT,
    RunArm,
    Verification,
    Verified,
    Yardstick,
    affordable_window_s,
)
from bench.tuning.evaluation import Traffic
from bench.tuning.objectives import CapacityWithin, Limit, Statistic
from bench.tuning.question import CURRENT, DEFAULT, WINDOW, Question
from bench.tuning.search import PATIENCE, TRIALS
from bench.tuning.simulated import Effort, Findings, SimulatedSearch, Watch
from bench.tuning.space import Whole, parse_search
from bench.tuning.studies import open_storage, sole_user, without_password
from results.run import write_text

REQUEST, PROFILE = "request.json", "profile.json"
BUDGET_S = 300.0
# As far as a profile goes that is measured for a search, unless --search goes further.
PROFILED_BATCH_SIZE = 128


class Request(BaseModel):
    """What a command line asks for; kept, so that it need not be said again on resuming.

    Attributes:
        settings: model, load, SLO, and the batcher's knobs that are not searched.
        current: the batcher's settings that the user has now.
        objective, percentile, search, trials, patience, seed: see `Question`.
        budget_s: device time for race and confirmation, and for a profile.
        race: whether the device is used for more than a profile.
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
        _ = question.asked
        parse_search(self.search)
        if self.race:  # a budget that is too small is found before anything is spent
            profiling_s = self.profile_budget_s if self.profile is None else 0.0
            affordable_window_s(self.budget_s - profiling_s, arms=4)
        return question


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


@dataclass(frozen=True)
class Result:
    """What a tuning found.

    Attributes:
        request: what was asked.
        question: the same, checked.
        loaded: where batch times are from.
        settings: everything that decides a run, the batcher's knobs apart.
        findings: of the simulation.
        verified: of the device; None where it was not used.
        unverified: why not.
        folder: of the tuning.
    """

    request: Request
    question: Question
    loaded: Loaded
    settings: Settings
    findings: Findings
    verified: Verified | None
    unverified: str
    folder: Path

    @property
    def met(self) -> bool:
        """Whether there is a setting that meets what was asked."""
        if self.findings.asked.chosen is None:
            return False
        return self.verified is None or self.verified.winner is not None

    @property
    def recommended(self) -> Candidate | None:
        """The setting to use, which may be the one that is there already."""
        if self.verified is None or self.verified.winner is None:
            return self.findings.asked.answer
        return finalists(self.findings)[self.verified.winner]


def carry_out(
    request: Request,
    folder: Path,
    clock: Clock,
    console: Console,
    *,
    watch: Watch = lambda *_: None,
    effort: Effort | None = None,
) -> Result:
    """Search, race, confirm.

    Args:
        request: what is asked.
        folder: of the tuning; what is there already is taken up.
        clock: for the device.
        console: where to say what is being done.
        watch: told of the progress of the search.
        effort: how long to look in simulation.

    Raises:
        InputError: something in the request cannot be used.
        WorkloadError, ConfigError: the trace or the model cannot.
        RunFailedError: the model raised.
    """
    question = request.question()
    with sole_user(folder):
        hidden = None if request.storage is None else without_password(request.storage)
        kept = request.model_copy(update={"storage": hidden})
        write_text(folder / REQUEST, kept.model_dump_json(indent=1) + "\n")
        storage = open_storage(folder, request.storage)
        loaded = _load(request, folder, clock, console)
        replicas = request.settings.batcher.replicas or 1
        traffic = Traffic.of(request.settings.replay, lambda: replicas * loaded.source.peak_rps)
        settings = _settled(request, loaded, traffic)
        load = traffic.describe()
        console.print(
            f"searching for {settings.model.model} under {load['name']} at "
            f"{load['offered_rps']:,.0f} req/s, in simulation",
            soft_wrap=True,
        )
        findings = SimulatedSearch(
            question,
            loaded.source,
            traffic,
            storage,
            folder.resolve().name,
            identity={"model": loaded.model, "device": loaded.device, "load": load["sha256"]},
            watch=watch,
            effort=effort or Effort(),
        ).run()
        reason = _why_not(request, loaded, settings, clock, findings)
        verified = None
        if not reason:
            verified = _verify(request, settings, loaded, traffic, findings)(folder, clock, console)
    return Result(request, question, loaded, settings, findings, verified, reason, folder)


def finalists(findings: Findings) -> dict[str, Candidate]:
    """The settings that race, by name: what was found and what it has to beat.

    A setting that is there under several names races under the first.
    """
    asked = findings.asked
    named: dict[str, Candidate] = {}
    if asked.answer is not None:
        named["recommended"] = asked.answer
    sign = -1.0 if asked.objective.maximise else 1.0
    ranking = sorted(
        (candidate for candidate in asked.candidates if candidate.score.feasible),
        key=lambda candidate: sign * candidate.score.value,
    )
    if ranking:
        named["best simulated"] = ranking[0]
    named.update(findings.references)
    unique: dict[str, Candidate] = {}
    for name, candidate in named.items():
        if all(candidate.settings != other.settings for other in unique.values()):
            unique[name] = candidate
    return unique


def _load(request: Request, folder: Path, clock: Clock, console: Console) -> Loaded:
    """Batch times: those measured before, those of a file, or measured now and kept."""
    own = folder / PROFILE
    path = own if own.exists() else request.profile
    sizes = parse_search(request.search).get("max_batch_size")
    asked = sizes.high if isinstance(sizes, Whole) else 0
    knobs = request.settings.batcher.model_copy(
        update={"max_batch_size": max(PROFILED_BATCH_SIZE, asked)}
    )
    loaded = load_source(
        request.settings.model_copy(update={"batcher": knobs}),
        clock,
        console,
        profile=path,
        model_named=request.model_named,
        budget_s=request.profile_budget_s,
        force=request.force,
    )
    if loaded.profile is not None and not own.exists():
        save_profile(loaded.profile, own)
    return loaded if path != own else replace(loaded, path=request.profile)


def _settled(request: Request, loaded: Loaded, traffic: Traffic) -> Settings:
    """The settings with the model that the profile is of, and the load in requests per second."""
    settings = request.settings
    model = settings.model
    if not request.model_named and loaded.profile is not None:
        model = model.model_copy(update={"model": loaded.model})
    load = settings.replay.model_copy(update={"rate": traffic.rate_rps, "utilization": None})
    return settings.model_copy(update={"model": model, "replay": load})


def _why_not(
    request: Request, loaded: Loaded, settings: Settings, clock: Clock, findings: Findings
) -> str:
    """Why the device is not used; empty if it is."""
    if not request.race:
        return "not raced on a device, as asked"
    if findings.asked.chosen is None:
        return "nothing to race: in simulation no setting does what is asked"
    if request.profile is not None and loaded.profile is not None:
        try:
            model, placement = load_subject(settings.model, clock)
            differences = matching(loaded.profile, model, placement, force=request.force)
        except ConfigError:
            return "not raced on a device: the profile is not of the one here"
        if differences:
            return "not raced on a device: the profile is not of the one here"
    return ""


def _verify(
    request: Request,
    settings: Settings,
    loaded: Loaded,
    traffic: Traffic,
    findings: Findings,
) -> Callable[[Path, Clock, Console], Verified]:
    """Prepare the race of the settings that can carry the load it is at."""
    question, objective = request.question(), findings.asked.objective
    chosen = findings.asked.chosen
    load = 1.0
    if isinstance(objective, CapacityWithin) and chosen is not None:
        load = VERIFIED_AT * chosen.score.value / (chosen.facts["offered_rps"] or inf)
    at = traffic.at(load)
    offered_rps = at.rate_rps / settings.replay.time_scale
    arms = {
        name: settings.model_copy(update={"batcher": candidate.settings})
        for name, candidate in finalists(findings).items()
        if candidate.facts["limit_rps"] > offered_rps or objective.name == "goodput"
    }
    profiled_s = 0.0 if loaded.profile is None or request.profile else loaded.profile.spent_s
    for name in ("best simulated", WINDOW):  # the first to stay behind where time is short
        if not _affordable(request.budget_s - profiled_s, len(arms)):
            arms.pop(name, None)

    def run(folder: Path, clock: Clock, console: Console) -> Verified:
        def make_runner(named: list[Arm]) -> RunArm:
            rate = settings.replay.model_copy(update={"rate": at.rate_rps})
            fixed = [
                Arm(arm.name, arm.settings.model_copy(update={"replay": rate})) for arm in named
            ]
            return LiveArms(fixed, clock, console)

        verification = Verification(
            arms=arms,
            yardstick=Yardstick(objective, question.statistic, question.limit),
            traffic=at,
            source=loaded.source,
            folder=folder,
            budget_s=request.budget_s - profiled_s,
            first=2 * Effort().most,
            make_runner=make_runner,
            watch=lambda text: console.print(text, markup=False, soft_wrap=True),
            seed=request.seed,
        )
        window_s = verification.window_s()
        console.print(
            f"racing {', '.join(arms)} on {loaded.device}: draws of {window_s:.1f} s at "
            f"{offered_rps:,.0f} req/s, {request.budget_s - profiled_s:.0f} s at most",
            soft_wrap=True,
        )
        return verification.run()

    return run


def _affordable(budget_s: float, arms: int) -> bool:
    try:
        affordable_window_s(budget_s, arms)
    except InputError:
        return False
    return True


def references_beaten(result: Result) -> dict[str, float]:
    """By reference, the value of the recommended setting / its value; infinite where it has none.

    In simulation, on the draws that decided.
    """
    answer = result.findings.asked.answer
    if answer is None:
        return {}
    ratios: dict[str, float] = {}
    for name in (DEFAULT, CURRENT):
        other = result.findings.references.get(name)
        if other is not None and other.score.feasible and other.score.value > 0.0:
            ratios[name] = answer.score.value / other.score.value
    return ratios
