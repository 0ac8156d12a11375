"""Which engine runs the model, where that is searched too.

Every engine has batch times of its own, and so a profile of its own. A setting then says, beside
the batcher's knobs, which engine it is for, and is simulated with that engine's times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import StrictStr, ValidationInfo, field_validator

from batching.execution.devices import ENGINES
from batching.profiles import Subject
from bench.errors import InputError
from bench.profiling.service_times import Overheads, Service, Source
from bench.settings import (
    AtLeastOne,
    BatcherSettings,
    ModelSettings,
    Settings,
)
from bench.simulation.setup import Setup

CUDAGRAPH = "cudagraph"
# In a list of searched values: the sizes that the engine captures if nobody says which.
USUAL_SIZES = "default"


@dataclass(frozen=True, slots=True)
class Engine:
    """What executes the model.

    Attributes:
        name: "eager", "cudagraph" or "compile".
        captured: the batch sizes that cudagraph captures; empty for the usual ones.
    """

    name: str
    captured: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: ModelSettings | Subject) -> Self:
        """The engine that a model is to be run by, or that a profile is of."""
        captures = model.engine == CUDAGRAPH
        return cls(model.engine, tuple(sorted(set(model.captured_batch_sizes))) if captures else ())

    def running(self, model: ModelSettings) -> ModelSettings:
        """The same model, run by this engine."""
        return model.model_copy(update={"engine": self.name, "captured_batch_sizes": self.captured})

    def __str__(self) -> str:
        return self.name if not self.captured else f"{self.name} {sizes_text(self.captured)}"


class Setting(BatcherSettings):
    """The batcher's knobs, and the engine that they are for."""

    engine: StrictStr
    captured_batch_sizes: tuple[AtLeastOne, ...] = ()

    @field_validator("engine")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ENGINES:
            raise ValueError(f"must be one of {', '.join(ENGINES)}")
        return name

    @field_validator("captured_batch_sizes", mode="before")
    @classmethod
    def _sizes(cls, sizes: object, others: ValidationInfo) -> object:
        """Read sizes as they are searched, "8+16+32", and forget them for other engines."""
        read = read_sizes(sizes) if isinstance(sizes, str) else sizes
        return read if others.data.get("engine") == CUDAGRAPH else ()

    @property
    def by(self) -> Engine:
        """The engine."""
        return Engine(self.engine, self.captured_batch_sizes)


def read_sizes(text: str) -> tuple[int, ...]:
    """Sizes to capture: "8+16+32", or "default" for the usual ones.

    Raises:
        ValueError: it is neither.
    """
    if text == USUAL_SIZES:
        return ()
    parts = text.split("+")
    if not all(part.strip().isdecimal() and int(part) >= 1 for part in parts):
        raise ValueError(f"must be sizes as 8+16+32, or {USUAL_SIZES}")
    return tuple(sorted({int(part) for part in parts}))


def sizes_text(sizes: Sequence[int]) -> str:
    """The same as text."""
    return "+".join(map(str, sizes)) or USUAL_SIZES


def setting_of(knobs: BatcherSettings, engine: Engine) -> Setting:
    """The batcher's knobs for an engine."""
    return Setting(
        **knobs.model_dump(exclude={"engine", "captured_batch_sizes"}),
        engine=engine.name,
        captured_batch_sizes=engine.captured,
    )


def knobs_of(setting: BatcherSettings) -> BatcherSettings:
    """The batcher's knobs alone."""
    if not isinstance(setting, Setting):
        return setting
    return BatcherSettings(**setting.model_dump(include=set(BatcherSettings.model_fields)))


def name_of(setting: BatcherSettings) -> str:
    """A setting in short: timeout 32 / 10 ms, cudagraph, in_flight 2."""
    usual = BatcherSettings().model_dump()
    shown = {"policy", "max_batch_size", "batch_timeout_ms", "slo_ms"}
    further = [
        f"{key} {value}"
        for key, value in knobs_of(setting).model_dump().items()
        if key not in shown and value != usual[key]
    ]
    first = f"{setting.policy} {setting.max_batch_size} / {setting.batch_timeout_ms:g} ms"
    engine = [str(setting.by)] if isinstance(setting, Setting) else []
    return ", ".join([first, *engine, *further])


def with_setting(settings: Settings, setting: BatcherSettings) -> Settings:
    """The settings of a run with these knobs, and with the engine that they are for."""
    model = settings.model
    if isinstance(setting, Setting):
        model = setting.by.running(model)
    return settings.model_copy(update={"batcher": knobs_of(setting), "model": model})


def read_setting(values: Mapping[str, Any]) -> BatcherSettings:
    """A setting as `model_dump` writes it.

    Raises:
        ValidationError: it is none.
    """
    kind = Setting if "engine" in values else BatcherSettings
    return kind.model_validate(values)


@dataclass(frozen=True)
class EngineSources:
    """Batch times of one model by several engines.

    Asked as if it were one source, it answers for the first, which is the one that shares of its
    peak are of; what no batch falls below, for all of them.

    Attributes:
        sources: by engine; the one that the model is run by today first.
    """

    sources: Mapping[Engine, Source]

    @property
    def first(self) -> Source:
        """That of the engine that the model is run by today."""
        return next(iter(self.sources.values()))

    @property
    def max_batch_size(self) -> int:
        """The largest batch that all of them know the time of."""
        return min(source.max_batch_size for source in self.sources.values())

    @property
    def peak_rps(self) -> float:
        """What one worker can serve with the first, requests per second."""
        return self.first.peak_rps

    def least_s(self, size: int) -> float:
        """A time that no batch of that size falls below in any engine, seconds."""
        return self._least(lambda source: source.least_s(size))

    def least_execute_s(self, size: int) -> float:
        """A time that its execution alone does not fall below, seconds."""
        return self._least(lambda source: source.least_execute_s(size))

    def mean_execute_s(self, size: int) -> float:
        """What its execution takes on average in the first, seconds."""
        return self.first.mean_execute_s(size)

    def draw(self, seed: int) -> tuple[Service, Overheads]:
        """Times of the first."""
        return self.first.draw(seed)

    def _least(self, of: Callable[[Source], float]) -> float:
        return min(map(of, self.sources.values()))


def every_source(source: Source) -> tuple[Source, ...]:
    """The sources of all engines, or the only one."""
    return tuple(source.sources.values()) if isinstance(source, EngineSources) else (source,)


def in_every_engine(setting: BatcherSettings, source: Source) -> list[BatcherSettings]:
    """A setting for each engine that there are times of; itself where that is not searched."""
    if not isinstance(source, EngineSources):
        return [setting]
    return [setting_of(setting, engine) for engine in source.sources]


def source_for(source: Source, setting: BatcherSettings) -> Source:
    """The batch times that a setting runs with."""
    if not isinstance(source, EngineSources):
        return source
    if not isinstance(setting, Setting):
        return source.first
    return source.sources[setting.by]


def setup_of(setting: BatcherSettings, source: Source) -> Setup:
    """A batcher with these knobs, to be simulated with the times of its engine.

    Raises:
        InputError: a batch larger than its engine's times are known for.
        ConfigError: a knob out of its range.
    """
    return Setup(knobs_of(setting), source_for(source, setting), setting.replicas or 1)


def engines_among(
    searched: Mapping[str, Sequence[object]], model: ModelSettings, current: BatcherSettings | None
) -> tuple[Engine, ...]:
    """The engines whose batch times a tuning needs, the one that the model is run by today first.

    Args:
        searched: by knob, the values that are searched; those of engines are looked at.
        model: as it is asked for.
        current: the setting that the user has now; its engine is among them.

    Raises:
        InputError: sizes to capture are searched, but not the engine that captures.
    """
    today = Engine.of(model)
    names = [str(value) for value in searched.get("engine", (today.name,))]
    captured = [read_sizes(str(text)) for text in searched.get("captured_batch_sizes", ())]
    if captured and CUDAGRAPH not in names:
        raise InputError(
            f"search of captured_batch_sizes must be with engine {CUDAGRAPH}, "
            f"but got {', '.join(names)}"
        )
    found: list[Engine] = []
    for name in names:
        if name != CUDAGRAPH:
            found.append(Engine(name))
        elif captured:
            found += [Engine(name, sizes) for sizes in captured]
        else:
            found.append(Engine(name, tuple(sorted(set(model.captured_batch_sizes)))))
    # What the model is run by today leads, as the default and the baselines are in it.
    if today in found or "engine" in model.model_fields_set:
        found.insert(0, today)
    if isinstance(current, Setting):
        found.append(current.by)
    return tuple(dict.fromkeys(found))


def implied_by(subjects: Sequence[Subject], searched: Sequence[str]) -> tuple[str, ...]:
    """What `--search` says, and which engines where several profiles do.

    Raises:
        InputError: two profiles are of the same engine, or they differ in more than that.
    """
    if len(subjects) < 2:
        return tuple(searched)
    engines = [Engine.of(subject) for subject in subjects]
    first = subjects[0]
    for number, subject in enumerate(subjects[1:], 1):
        alike = replace(
            subject, engine=first.engine, captured_batch_sizes=first.captured_batch_sizes
        )
        if differences := first.differences(alike).decisive:
            raise InputError(
                f"profiles must be of one model and device in several engines, but {differences[0]}"
            )
        if engines[number] in engines[:number]:
            raise InputError(
                f"profiles must be of different engines, but two are of {engines[number]}"
            )
    told = {text.partition("=")[0].strip().replace("-", "_") for text in searched}
    implied = list(searched)
    if "engine" not in told:
        implied.append("engine=" + ",".join(dict.fromkeys(engine.name for engine in engines)))
    captured = [engine.captured for engine in engines if engine.name == CUDAGRAPH]
    if "captured_batch_sizes" not in told and any(captured):
        implied.append("captured_batch_sizes=" + ",".join(map(sizes_text, captured)))
    return tuple(implied)
