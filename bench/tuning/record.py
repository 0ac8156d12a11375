"""What a tuning in a database says of itself, so that another machine can take part in it.

It is kept in an attribute of a study without trials that has the tuning's own name. Beside it the
searches have a study each, NAME fastest and so on.
"""

import base64
import contextlib
import shlex
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from batching.versions import own_version
from bench.errors import InputError
from bench.settings import ModelSettings, Settings
from bench.tuning.profiles import LoadedEngines, profile_path
from bench.tuning.request import Request
from bench.tuning.search.storage import OWNER, let_go, without_password
from bench.tuning.sharing import Pulse, storage_failures_told, this_worker
from bench.tuning.simulated.search import SimulatedSearch
from bench.tuning.simulated.simulator import Effort

if TYPE_CHECKING:
    import optuna

    from batching.profiles import ServiceProfile

SEARCHING, SEARCHED, STOPPED = "searching", "searched", "stopped"
_STAGE, _BEGUN_BY = "stage", "begun_by"


class Record(BaseModel):
    """All that somebody who joins has to know.

    Attributes:
        dynbatch: version that began it.
        request: what was asked; its files by their full paths.
        effort: how long to look in simulation, by name.
        goals: the searches, in their order.
        identity: of model, device and load, as every study of it has.
        here: whether batch times were measured by who began it, whose device is then that of all.
        profiles: batch times of each engine, as `save_profile` wrote them, compressed; none for a
            synthetic model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dynbatch: str
    request: Request
    effort: dict[str, int]
    goals: tuple[str, ...]
    identity: dict[str, Any]
    here: bool
    profiles: tuple[str, ...]

    @classmethod
    def of(
        cls, request: Request, search: SimulatedSearch, engines: LoadedEngines, folder: Path
    ) -> Self:
        """The record of a tuning.

        Args:
            request: what is asked.
            search: about to be begun.
            engines: where its batch times are from.
            folder: of the tuning, which has them in files.
        """
        measured = [engine for engine, its in engines.engines.items() if its.profile is not None]
        files = [profile_path(folder, engine, measured[0]) for engine in measured]
        return cls(
            dynbatch=own_version(),
            request=request.model_copy(
                update={"storage": None, "settings": _with_full_paths(request.settings)}
            ),
            effort=asdict(search.effort),
            goals=tuple(search.question.goals),
            identity=dict(search.identity),
            here=bool(measured) and not request.profiles,
            profiles=tuple(
                base64.b85encode(zlib.compress(file.read_bytes())).decode("ascii") for file in files
            ),
        )

    @property
    def how_long(self) -> Effort:
        """The effort."""
        return Effort(**self.effort)

    def read_profiles(self, folder: Path) -> "list[ServiceProfile]":
        """The batch times of each engine, as `Request.engines` has them.

        Args:
            folder: an empty one, to put the files into.

        Raises:
            ProfileError: they are damaged.
        """
        from batching.profiles import load_profile

        found = []
        for number, text in enumerate(self.profiles):
            path = folder / f"profile-{number}.json"
            path.write_bytes(zlib.decompress(base64.b85decode(text)))
            found.append(load_profile(path))
        return found


def _with_full_paths(settings: Settings) -> Settings:
    """Files by paths that mean the same from another folder."""
    replay, model = settings.replay, settings.model
    if Path(replay.trace).is_file():
        replay = replay.model_copy(update={"trace": str(Path(replay.trace).resolve())})
    return settings.model_copy(update={"replay": replay, "model": _with_full_path(model)})


def _with_full_path(model: ModelSettings) -> ModelSettings:
    file, colon, factory = model.model.rpartition(":")
    if colon and Path(file).is_file():
        model = model.model_copy(update={"model": f"{Path(file).resolve()}:{factory}"})
    if model.weights is not None:
        model = model.model_copy(update={"weights": model.weights.resolve()})
    return model


@contextlib.contextmanager
def announced(storage: "optuna.storages.BaseStorage", name: str, record: Record) -> Iterator[None]:
    """Let others take part as long as the context lasts.

    Raises:
        InputError: there is a study of that name that is not ours.
    """
    import optuna

    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
    if OWNER not in study.user_attrs and study.get_trials(deepcopy=False):
        raise InputError(
            f"study {name} must be one that dynbatch made, but it has trials of something else"
        )
    study.set_user_attr(_BEGUN_BY, this_worker())
    study.set_user_attr(_STAGE, SEARCHING)
    study.set_user_attr(OWNER, record.model_dump(mode="json", exclude_unset=True))
    stage = STOPPED
    try:
        with Pulse(lambda worker: study.set_user_attr(_BEGUN_BY, worker)):
            yield
        stage = SEARCHED
    finally:
        study.set_user_attr(_STAGE, stage)


@contextlib.contextmanager
def open_to_others(
    search: SimulatedSearch,
    request: Request,
    engines: LoadedEngines,
    folder: Path,
    console: Console,
) -> Iterator[None]:
    """Let others take part, and say how, where the storage allows it.

    Raises:
        InputError: there is a study of the tuning's name that is not ours.
        RunFailedError: the storage failed in the middle.
    """
    if search.team is None:
        yield
        return
    record = Record.of(request, search, engines, folder)
    try:
        with storage_failures_told(), announced(search.storage, search.name, record):
            shown = without_password(request.storage or "")
            console.print(
                f"to take part from another process: dynbatch tune --join {search.name} "
                f"--storage {shlex.quote(shown)}",
                soft_wrap=True,
            )
            yield
    finally:  # what comes next, on the device, may take long and needs it rarely or never
        let_go(search.storage)


class Begun:
    """A tuning that another process has begun.

    Args:
        study: of the tuning's name.

    Raises:
        InputError: it is not one that can be joined.
    """

    def __init__(self, study: "optuna.Study") -> None:
        self._study = study
        attrs = study.user_attrs
        known = attrs.get(OWNER)
        if not isinstance(known, Mapping) or "request" not in known:
            raise InputError(
                f"join must name a tuning of dynbatch, but study {study.study_name!r} is of "
                "something else"
            )
        here = own_version()
        if known.get("dynbatch") != here:
            raise InputError(
                f"join must be with the version that began {study.study_name}, which is dynbatch "
                f"{known.get('dynbatch')}, but this is {here}"
            )
        try:
            self.record = Record.model_validate(known)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise InputError(
                f"join must name a tuning of dynbatch, but in {study.study_name} {where} is damaged"
            ) from None

    @property
    def stage(self) -> str:
        """What who began it says is being done."""
        return str(self._study.user_attrs.get(_STAGE, STOPPED))

    @property
    def begun_by(self) -> dict[str, Any] | None:
        """Who began it, and its last sign of life."""
        return self._study.user_attrs.get(_BEGUN_BY)


def find_tuning(storage: "optuna.storages.BaseStorage", name: str) -> Begun:
    """A tuning by its name.

    Raises:
        InputError: there is none.
    """
    import optuna

    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        there = sorted(
            one.study_name
            for one in optuna.get_all_study_summaries(storage, include_best_trial=False)
            if "request" in (one.user_attrs.get(OWNER) or ())
        )
        known = f"the storage has {', '.join(there)}" if there else "the storage has none"
        raise InputError(f"join must name a tuning, but got {name!r}: {known}") from None
    return Begun(study)
