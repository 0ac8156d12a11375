"""From the options of a command to a source of batch times."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from batching import Clock, Model, Placement
from batching.profiles import (
    ServiceProfile,
    Subject,
    load_profile,
    require_match,
    subject_of,
)
from bench.profiling.measure import load_subject, measure_quietly
from bench.profiling.service_times import ProfileSource, Source, exact_source
from bench.settings import Settings


@dataclass(frozen=True)
class Loaded:
    """A source and what is to be said of it.

    Attributes:
        source: batch times.
        model, device: as reports call them.
        profile: what was measured; None for a model that states its times.
        path: the file it was read from; None where it was measured now.
        differences: how a profile that was forced differs from what it is used for.
    """

    source: Source
    model: str
    device: str
    profile: ServiceProfile | None = None
    path: Path | None = None
    differences: tuple[str, ...] = ()

    def peak_rps(self, replicas: int | None) -> float:
        """What so many replicas can serve together, requests per second; None is one."""
        return (replicas or 1) * self.source.peak_rps

    def describe(self) -> dict[str, object]:
        """What run.json keeps of it."""
        profile = self.profile
        if profile is None:
            return {"profile": None}
        return {
            "profile": {
                "path": None if self.path is None else str(self.path),
                "created": profile.created,
                "device_name": profile.subject.device_name,
                "dtype": profile.subject.dtype,
                "engine": profile.subject.engine,
                "versions": dict(profile.subject.versions),
                "max_batch_size": profile.max_batch_size,
                "peak_rps": profile.peak_rps,
            },
            "profile_differences": list(self.differences),
        }


def load_source(
    settings: Settings,
    clock: Clock,
    console: Console,
    *,
    profile: Path | None,
    model_named: bool,
    budget_s: float,
    force: bool = False,
) -> Loaded:
    """Read the profile, or take a synthetic model at its word, or profile a real one now.

    Args:
        settings: the model and the batcher that are asked for, with the largest batch of all that
            are to be tried; no model is run with a larger one.
        clock: for a profile that is measured now.
        console: where to say what is being done.
        profile: a file; it decides the model where none is named.
        model_named: whether the model was asked for, or is the default.
        budget_s: time for a profile that is measured now.
        force: use a profile of another model all the same.

    Raises:
        ConfigError: there is no such model or profile, or the profile is of another model.
    """
    if profile is not None:
        found = load_profile(profile)
        wanted = _wanted(settings, clock, found.subject, model_named=model_named)
        differences = found.subject.differences(wanted).decisive
        require_match(found, wanted, force=force)
        subject = found.subject
        console.print(f"profile of {subject.model} on {subject.device_name or subject.device}")
        return Loaded(
            ProfileSource(found), subject.model, subject.device, found, profile, differences
        )
    model, placement = load_subject(settings.model, clock)
    exact = exact_source(model, settings.batcher.max_batch_size)
    if exact is not None:
        return Loaded(exact, model.name, "synthetic")
    measured = measure_quietly(
        model,
        placement,
        clock,
        console,
        max_batch_size=settings.batcher.max_batch_size,
        budget_s=budget_s,
    )
    return Loaded(ProfileSource(measured), model.name, measured.subject.device, measured)


def _wanted(settings: Settings, clock: Clock, found: Subject, *, model_named: bool) -> Subject:
    """The profile's subject, but for what was asked for by name.

    The device is the profile's: to simulate one that is not here is what a profile is for.
    """
    asked = settings.model
    if model_named:
        here = asked.model_copy(update={"engine": "eager", "captured_batch_sizes": ()})
        model, _ = load_subject(here, clock)
        found = replace(found, model=model.name)
    # A model that uses no torch has no engine, and an eager one is what it is asked for by default.
    if "engine" in asked.model_fields_set and (asked.engine, found.engine) != ("eager", "python"):
        found = replace(found, engine=asked.engine)
    if asked.captured_batch_sizes:
        found = replace(found, captured_batch_sizes=asked.captured_batch_sizes)
    if asked.channels_last is not None:
        found = replace(found, channels_last=asked.channels_last)
    return found


def load_for(
    model: Model,
    placement: Placement,
    clock: Clock,
    console: Console,
    *,
    profile: Path | None,
    max_batch_size: int,
    budget_s: float,
    force: bool = False,
) -> Loaded:
    """The profile of a model that is about to be measured: read and checked, or measured now.

    Raises:
        ProfileError: the file is no profile, or not of this model, device, dtype and engine.
    """
    if profile is not None:
        found = load_profile(profile)
        differences = matching(found, model, placement, force=force)
    else:
        differences = ()
        found = measure_quietly(
            model, placement, clock, console, max_batch_size=max_batch_size, budget_s=budget_s
        )
    return Loaded(ProfileSource(found), model.name, placement.device, found, profile, differences)


def matching(
    profile: ServiceProfile, model: object, placement: Placement, *, force: bool
) -> tuple[str, ...]:
    """Check a profile against what is about to be measured; returns how it differs if forced.

    Raises:
        ProfileError: it is of another model, device, dtype or engine.
    """
    subject = subject_of(model, placement)
    require_match(profile, subject, force=force)
    return profile.subject.differences(subject).decisive
