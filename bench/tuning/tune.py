"""One tuning in its folder, from what was asked to a recommendation, or on from where it stopped.

The folder holds `request.json` (what was asked), `profile.json` (batch times, where they were
measured), the studies' journal, a folder for each run on the device, and at the end `tune.json` and
`recommended.toml`. Whatever is there already is not made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console

from batching import Clock
from batching.errors import ConfigError
from bench.hardware.environment import without_password
from bench.live.arms import Arm
from bench.profiling.load import Loaded, matching
from bench.profiling.measure import load_subject
from bench.settings import Settings
from bench.traces.source import tell_windows
from bench.tuning.budget import SIMULATION_SHARE, Budget, look_ahead, plan_of
from bench.tuning.decision import is_met, kept_reference, recommended_settings
from bench.tuning.device.pinned_plan import PLAN
from bench.tuning.device.search import RunArm
from bench.tuning.device.stage import OnDevice
from bench.tuning.findings import Findings
from bench.tuning.profiles import (
    PROFILE,
    LoadedEngines,
    largest_batch_asked,
    load_engines,
)
from bench.tuning.request import REQUEST, Question, Request, read_request, require_energy_counter
from bench.tuning.search.objectives import Energy
from bench.tuning.search.storage import (
    sole_user,
    storage_failures_told,
    storage_in,
)
from bench.tuning.simulated.search import SimulatedSearch, Watch
from bench.tuning.simulated.simulator import SimulationBudget, Traffic
from results.files import write_text
from results.tuning.device_record import RACE, DeviceRecord

__all__ = ["PROFILE", "Request", "Result", "carry_out", "read_request"]

# What was found and the default: without a race of two, nothing is shown.
_FEWEST_ARMS = 2
# Parts of a recording of which it is said how they differ from it.
_DRAWS_TOLD = 10
# Of the budget, for what is worked out of the findings once the searches have ended.
_WIND_UP_SHARE = 0.05


@dataclass(frozen=True)
class Result:
    """What a tuning found.

    Attributes:
        request: what was asked.
        question: the same, checked.
        loaded: where batch times are from; of several engines, of that which is there today.
        engines: the same for each engine; a single one where they are not searched.
        settings: everything that decides a run, the batcher's knobs apart.
        findings: of the simulation.
        verified: of the device; None where it was not used.
        unverified: why not.
        folder: of the tuning.
    """

    request: Request
    question: Question
    loaded: Loaded
    engines: LoadedEngines
    settings: Settings
    findings: Findings
    verified: DeviceRecord | None
    unverified: str
    folder: Path

    @property
    def met(self) -> bool:
        """Whether there is a setting that meets what was asked."""
        return is_met(self.findings, self.verified)

    @property
    def keeps(self) -> str | None:
        """The reference that should be kept, because nothing better was shown."""
        return kept_reference(self.findings, self.verified)

    @property
    def recommended(self) -> dict[str, Any] | None:
        """The setting to use in the end, by knob, or the nearest one."""
        return recommended_settings(self.findings, self.verified)


def carry_out(
    request: Request,
    folder: Path,
    clock: Clock,
    console: Console,
    *,
    watch: Watch = lambda *_: None,
    effort: SimulationBudget | None = None,
    make_runner: Callable[[list[Arm]], RunArm] | None = None,
) -> Result:
    """Search, race, confirm.

    Args:
        request: what is asked.
        folder: of the tuning; what is there already is taken up.
        clock: for the device.
        console: where to say what is being done.
        watch: told of the progress of the search.
        effort: how long to look in simulation.
        make_runner: what makes the runs on the device; None replays them here.

    Raises:
        InputError: something in the request cannot be used.
        WorkloadError, ConfigError: the trace or the model cannot.
        RunFailedError: the model raised.
    """
    question = request.question()
    with (
        sole_user(folder),
        storage_failures_told(),
        storage_in(folder, request.storage) as storage,
    ):
        hidden = None if request.storage is None else without_password(request.storage)
        kept = request.model_copy(update={"storage": hidden})
        write_text(folder / REQUEST, kept.model_dump_json(indent=1, exclude_unset=True) + "\n")
        if isinstance(question.asked, Energy):
            require_energy_counter(request.settings.model)
        budget = Budget(request.budget_s)
        _forecast(request, folder, clock, console)
        engines = load_engines(request, folder, clock, console)
        loaded = engines.together
        replicas = request.settings.batcher.replicas or 1
        traffic = Traffic.of(request.settings.replay, lambda: replicas * loaded.source.peak_rps)
        settings = _settled(request, loaded, traffic)
        load = traffic.describe()
        identity = {"model": loaded.model, "device": loaded.device, "load": load["sha256"]}
        where = "in simulation" if request.simulate else "on the device"
        console.print(
            f"searching for {settings.model.model} under {load['name']} at "
            f"{load['offered_rps']:,.0f} req/s, {where}",
            soft_wrap=True,
        )
        tell_windows(traffic.draws(0, _DRAWS_TOLD), console)
        device = OnDevice(
            question,
            settings,
            loaded,
            traffic,
            storage,
            folder,
            identity,
            clock,
            console,
            budget,
            seed=request.seed,
            make_runner=make_runner,
        )
        if request.race:
            device.warn_of_short_draws(simulate=request.simulate)
        if request.simulate:
            part = budget.part(inf)
            if request.race:
                race_s = device.least_race_s(_FEWEST_ARMS) + _WIND_UP_SHARE * budget.total_s
                share_s = SIMULATION_SHARE * budget.total_s
                part = budget.part(min(share_s, budget.left_s - race_s))
            name = folder.resolve().name
            search = SimulatedSearch(
                question,
                loaded.source,
                traffic,
                storage,
                name,
                identity=identity,
                watch=watch,
                effort=effort or SimulationBudget(),
                left=lambda: part.share_left,
            )
            findings = search.run()
        else:
            findings = device.search()
        reason = _why_not(request, loaded, settings, clock, findings)
        verified = None
        if not reason:
            outcome = device.verify(findings)
            verified, reason = (None, outcome) if isinstance(outcome, str) else (outcome, "")
    return Result(request, question, loaded, engines, settings, findings, verified, reason, folder)


def _forecast(request: Request, folder: Path, clock: Clock, console: Console) -> None:
    """Say how fast the model is and how long it will take, before anything slow."""
    profile_s = 0.0
    if not request.profiles and not (folder / PROFILE).exists():
        pace = look_ahead(request.settings.model, clock, largest_batch_asked(request))
        if pace is not None:
            profile_s = request.profiles_s
            console.print(str(pace), soft_wrap=True)
    console.print(
        plan_of(
            request.budget_s,
            profile_s=profile_s,
            simulate=request.simulate,
            race=request.race,
            begun=request.race and (folder / RACE / PLAN).exists(),
        ),
        soft_wrap=True,
    )


def _settled(request: Request, loaded: Loaded, traffic: Traffic) -> Settings:
    """The settings with the model that the profile is of, and the load in requests per second."""
    settings = request.settings
    model = settings.model
    if not request.model_named and loaded.profile is not None:
        model = model.model_copy(update={"model": loaded.model})
    if request.searches_engines:
        model = request.engines[0].running(model)
    load = settings.replay.model_copy(update={"rate": traffic.rate_rps, "utilization": None})
    return settings.model_copy(update={"model": model, "replay": load})


def _why_not(
    request: Request, loaded: Loaded, settings: Settings, clock: Clock, findings: Findings
) -> str:
    """Why the device is not used; empty if it is."""
    if not request.race:
        return "not raced on a device, as asked"
    if findings.asked.chosen is None:
        where = "on the device" if findings.measured else "in simulation"
        return f"nothing to race: {where} no setting does what is asked"
    if request.profiles and loaded.profile is not None:
        try:
            model, placement = load_subject(settings.model, clock)
            differences = matching(loaded.profile, model, placement, force=request.force)
        except ConfigError:
            return "not raced on a device: the profile is not of the one here"
        if differences:
            return "not raced on a device: the profile is not of the one here"
    return ""
