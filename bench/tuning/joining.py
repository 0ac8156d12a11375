"""Taking part in a tuning that another machine has begun.

Who joins simulates trials of its searches, one search after another as they are begun, until the
last has ended. Everything else, the closer look and what is done on the device, is left to who
began it, and so is writing the result down.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from batching import Clock
from batching.profiles import subject_of
from bench.errors import InputError
from bench.profiling.measure import load_subject
from bench.profiling.service_times import ProfileSource, Source, exact_source
from bench.tuning.profiles import largest_batch_asked
from bench.tuning.record import SEARCHED, SEARCHING, Begun, Record, find_tuning
from bench.tuning.search.engines import EngineSources
from bench.tuning.search.sampler import Finished, best_of
from bench.tuning.search.storage import (
    OWNER,
    check_same,
    let_go,
    open_database,
    without_password,
)
from bench.tuning.sharing import POLL_S, Team, storage_failures_told, team_on
from bench.tuning.simulated.search import SimulatedSearch, Watch
from bench.tuning.simulated.simulator import Traffic
from bench.tuning.teamwork import FIRST, SharedTuner
from workloads.errors import WorkloadError

if TYPE_CHECKING:
    pass


_ENDED = "all searches have ended"


@dataclass(frozen=True)
class Joined:
    """What was done for a tuning.

    Attributes:
        name: of the tuning.
        trials: simulated here, by goal.
        best: of all trials of a goal that was taken part in.
        ended: why there was nothing more to do.
    """

    name: str
    trials: Mapping[str, int]
    best: Mapping[str, Finished | None]
    ended: str


def join(
    name: str,
    url: str,
    clock: Clock,
    console: Console,
    *,
    trace: str | None = None,
    force: bool = False,
    watch: Watch = lambda *_: None,
    pause: Callable[[float], None] = time.sleep,
) -> Joined:
    """Take part until there is nothing more to do.

    Args:
        name: of the tuning.
        url: of its storage.
        clock: for the model that is compared with the one of who began it.
        console: where to say what is being done.
        trace: where its trace file is on this machine, if it is elsewhere than it was.
        force: take part from a machine that differs all the same.
        watch: told of the progress of the searches.
        pause: waits for so many seconds, while there is nothing to do.

    Raises:
        InputError: there is no such tuning, or this machine or its trace differ.
        WorkloadError, ConfigError: the trace or the model cannot be had here.
        RunFailedError: the storage failed in the middle.
    """
    storage = open_database(url)
    try:
        team = team_on(storage, name)
        if team is None:
            raise InputError(
                "storage must be on PostgreSQL or in an SQLite file to be joined, "
                f"but got {without_password(url)}"
            )
        with storage_failures_told():
            begun = find_tuning(storage, name)
            source = _source(begun.record, clock, force=force)
            search = SimulatedSearch(
                begun.record.request.question(),
                source,
                _traffic(begun.record, name, source, trace),
                storage,
                name,
                identity=begun.record.identity,
                watch=watch,
                effort=begun.record.how_long,
                team=team,
            )
            load = search.traffic.describe()
            console.print(
                f"taking part in {name}: {begun.record.identity['model']} under {load['name']} at "
                f"{load['offered_rps']:,.0f} req/s, in simulation",
                soft_wrap=True,
            )
            return _take_part(search, begun, team, pause)
    finally:
        let_go(storage)


def _take_part(
    search: SimulatedSearch, begun: Begun, team: Team, pause: Callable[[float], None]
) -> Joined:
    """Search for one goal after another, as they are begun, until there are no more."""
    trials: dict[str, int] = {}
    best: dict[str, Finished | None] = {}
    for goal, objective in search.question.goals.items():
        while (tuner := _tuner_for(search, goal)) is None:
            over = _no_more(begun, team, search.name)
            if over:
                return Joined(search.name, trials, best, over)
            pause(POLL_S)
        space = search.question.space(search.source, objective)
        search.search(goal, objective, space, tuner)
        trials[goal], best[goal] = tuner.told, best_of(tuner.finished, objective)
    return Joined(search.name, trials, best, _no_more(begun, team, search.name) or _ENDED)


def _no_more(begun: Begun, team: Team, name: str) -> str:
    """Why no further search will be begun; empty if one may be."""
    stage = begun.stage
    if stage == SEARCHED:
        return _ENDED
    gone = team.observer.is_lost(name, begun.begun_by)
    if stage != SEARCHING or gone:
        return (
            f"who began {name} is gone; on that machine, dynbatch tune --resume begins what is left"
        )
    return ""


def _traffic(record: Record, name: str, source: Source, trace: str | None) -> Traffic:
    """The arrivals that the tuning is for.

    Raises:
        InputError: the trace is not here, or not the same.
    """
    settings = record.request.settings
    replay = settings.replay
    if trace is not None:
        replay = replay.model_copy(update={"trace": trace})
    replicas = settings.batcher.replicas or 1
    try:
        traffic = Traffic.of(replay, lambda: replicas * source.peak_rps)
    except WorkloadError as error:
        raise InputError(
            f"{error} (the trace of {name}; --trace FILE says where it is here)"
        ) from None
    check_same(
        f"load must be the one that {name} was begun with",
        {"load": record.identity["load"]},
        {"load": traffic.describe()["sha256"]},
    )
    return traffic


def _source(record: Record, clock: Clock, *, force: bool) -> Source:
    """Batch times: those of who began it, if they could have been measured here.

    Raises:
        InputError: they could not.
        ConfigError: there is no such model or device here.
    """
    request = record.request
    with tempfile.TemporaryDirectory() as folder:
        profiles = record.read_profiles(Path(folder))
    if not profiles:
        model, _ = load_subject(request.settings.model, clock)
        exact = exact_source(model, largest_batch_asked(request))
        if exact is None:
            raise InputError(
                f"model must be a synthetic one, as for who began it, but {model.name} is not"
            )
        return exact
    if record.here and not force:
        for engine, profile in zip(request.engines, profiles, strict=True):
            asked = request.settings.model
            asked = engine.running(asked) if request.searches_engines else asked
            differences = profile.subject.differences(subject_of(*load_subject(asked, clock)))
            if differences.decisive:
                raise InputError(
                    "join must be from a machine like the one that began it, but "
                    f"{differences.decisive[0]}; --force takes part all the same, as only "
                    "simulations are shared"
                )
    sources = dict(zip(request.engines, map(ProfileSource, profiles), strict=True))
    return EngineSources(sources) if request.searches_engines else next(iter(sources.values()))


def _tuner_for(search: SimulatedSearch, goal: str) -> SharedTuner | None:
    """A tuner for a goal; None as long as its search has not been begun.

    Raises:
        InputError: the study is of something else.
    """
    import optuna

    try:
        study = optuna.load_study(study_name=search.study_name(goal), storage=search.storage)
    except KeyError:
        return None
    attrs = study.user_attrs
    if FIRST not in attrs:
        return None
    objective = search.question.goals[goal]
    space = search.question.space(search.source, objective)
    check_same(
        f"study {study.study_name} must be of the question that its tuning asks",
        attrs[OWNER],
        search.identity_of(space),
    )
    asked = goal == next(iter(search.question.goals))
    tuner = search.tuner(study, space, objective, attrs[FIRST], asked=asked)
    return tuner if isinstance(tuner, SharedTuner) else None


def lines(joined: Joined) -> Iterator[str]:
    """What was done, for a terminal."""
    for goal, trials in joined.trials.items():
        best = joined.best[goal]
        knobs = "" if best is None else ", ".join(f"{k} {v}" for k, v in best.knobs.items())
        yield f"{goal}: {trials} trials here" + (f"; best of all: {knobs}" if knobs else "")
    yield f"{joined.name}: {joined.ended}"


def as_json(joined: Joined) -> dict[str, Any]:
    """The same, JSON-able."""
    return {
        "kind": "joined tuning",
        "name": joined.name,
        "ended": joined.ended,
        "goals": {
            goal: {
                "trials": trials,
                "best": None if (best := joined.best[goal]) is None else best.knobs,
            }
            for goal, trials in joined.trials.items()
        },
    }
