"""The batch times that a tuning searches with: of one engine, or of each that is searched."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from batching import Clock
from batching.errors import ProfileError
from batching.profiles import load_profile, save_profile
from bench.errors import InputError
from bench.profiling.load import Loaded, load_source
from bench.profiling.measure import load_subject
from bench.profiling.service_times import Source
from bench.settings import Settings
from bench.tuning.request import Request
from bench.tuning.search.engines import Engine, EngineSources
from bench.tuning.search.space import Choice, Whole, parse_search

PROFILE = "profile.json"
# As far as a profile goes that is measured for a search, unless --search says how far.
PROFILED_BATCH_SIZE = 128


@dataclass(frozen=True)
class LoadedEngines:
    """Batch times by engine.

    Attributes:
        engines: the one that the model is run by today first.
        searched: whether there are settings for each, or the only one is a matter of course.
    """

    engines: Mapping[Engine, Loaded]
    searched: bool

    @property
    def first(self) -> Loaded:
        """Those of the engine that the model is run by today."""
        return next(iter(self.engines.values()))

    @property
    def source(self) -> Source:
        """All of them as one source."""
        if not self.searched:
            return self.first.source
        return EngineSources({engine: its.source for engine, its in self.engines.items()})

    @property
    def together(self) -> Loaded:
        """The first, with the batch times of all."""
        return replace(self.first, source=self.source)


def profile_path(folder: Path, engine: Engine, first: Engine) -> Path:
    """Where the profile of an engine is kept in a tuning's folder."""
    if engine == first:
        return folder / PROFILE
    return folder / f"profile-{str(engine).replace(' ', '-')}.json"


def check_subject(request: Request, clock: Clock) -> None:
    """Find a model, device or engine that cannot be had before anything is made or measured.

    Raises:
        InputError: engines are searched of a model that has none, or a profile is missing.
        ConfigError: there is no such model, device or profile, or an engine cannot run there.
    """
    if request.profiles:
        _files(request, request.engines)
        return
    for engine in request.engines:
        model, _ = load_subject(_as_profiled(request, engine).model, clock)
        if request.searches_engines and not model.uses_torch:
            raise InputError(
                f"search of engine must be with a model that uses torch, but got {model.name}"
            )


def load_engines(request: Request, folder: Path, clock: Clock, console: Console) -> LoadedEngines:
    """Batch times of every engine: measured before, of a file, or measured now and kept.

    Raises:
        InputError: a profile is missing.
        ConfigError: there is no such model or profile.
        RunFailedError: the model raised.
    """
    engines = request.engines
    own = {engine: profile_path(folder, engine, engines[0]) for engine in engines}
    files = {} if all(map(Path.exists, own.values())) else _files(request, engines)
    loaded = {}
    for engine, path in own.items():
        settings = _as_profiled(request, engine)
        loaded[engine] = _load(settings, path, files.get(engine), clock, console, asked=request)
    return LoadedEngines(loaded, request.searches_engines)


def _files(request: Request, engines: tuple[Engine, ...]) -> dict[Engine, Path]:
    """The profiles that were given, by engine."""
    if not request.profiles:
        return {}
    if not request.searches_engines:
        return {engines[0]: request.profiles[0]}
    files = {Engine.of(load_profile(path).subject): path for path in request.profiles}
    for engine in engines:
        if engine not in files:
            raise InputError(
                "profile must be given for each engine that is searched, but there is none of "
                f"{engine} among {', '.join(map(str, request.profiles))}"
            )
    return files


def _load(
    settings: Settings,
    own: Path,
    file: Path | None,
    clock: Clock,
    console: Console,
    *,
    asked: Request,
) -> Loaded:
    """Batch times from the tuning's own file, from one that was given, or measured now."""
    kept = own.exists() and not _damaged(own, console)
    path = own if kept else file
    if path is None and asked.searches_engines:
        console.print(f"engine {Engine.of(settings.model)}:")
    loaded = load_source(
        settings,
        clock,
        console,
        profile=path,
        model_named=asked.model_named,
        budget_s=asked.profile_budget_s,
        force=asked.force,
    )
    if loaded.profile is not None and not kept:
        save_profile(loaded.profile, own)
    return loaded if path != own else replace(loaded, path=file)


def largest_batch_asked(request: Request) -> int:
    """As far as batch times are needed, and no further: a model may take no larger batch."""
    sizes = parse_search(request.search).get("max_batch_size")
    if isinstance(sizes, Whole):
        return sizes.high
    if isinstance(sizes, Choice):
        return max(int(size) for size in sizes.values)
    return PROFILED_BATCH_SIZE


def _as_profiled(request: Request, engine: Engine) -> Settings:
    """The settings with as large a batch as is to be profiled, and in that engine."""
    knobs = request.settings.batcher.model_copy(
        update={"max_batch_size": largest_batch_asked(request)}
    )
    model = request.settings.model
    if request.searches_engines:
        model = engine.running(model)
    return request.settings.model_copy(update={"batcher": knobs, "model": model})


def _damaged(profile: Path, console: Console) -> bool:
    try:
        load_profile(profile)
    except ProfileError as error:
        console.print(f"{error}; it is made again", soft_wrap=True)
        return True
    return False
