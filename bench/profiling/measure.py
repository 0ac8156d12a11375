"""Measuring a service profile for a person: with progress, quietly, and in numbers and words."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live

from batching import Clock, load_model
from batching.execution.devices import require_one_kind, resolve_placements
from batching.models import Model, Placement
from batching.profiles import ServiceProfile, Step, measure_profile
from bench.console import progress_line
from bench.hardware.quiet import quiet_gc
from bench.settings import ModelSettings

_REFRESH_S = 0.25


def load_subject(settings: ModelSettings, clock: Clock) -> tuple[Model, Placement]:
    """The model that the settings name, not loaded yet, and where it is to run.

    Of several devices it is the first: they must be of one kind, and its times are those of each.

    Raises:
        ConfigError: there is no such model, device or dtype, or devices of different kinds.
    """
    placements = resolve_placements(settings.device, settings.dtype, **settings.how)
    require_one_kind(placements)
    return load_model(settings.model, clock=clock, weights=settings.weights), placements[0]


def measure_quietly(
    model: Model,
    placement: Placement,
    clock: Clock,
    console: Console,
    *,
    max_batch_size: int,
    budget_s: float,
    lengths: Sequence[int] = (),
    seed: int = 0,
    keep_interrupted: bool = False,
) -> ServiceProfile:
    """Measure as a run is measured: the garbage collector off, a line of progress on `console`.

    With `keep_interrupted` Ctrl-C gives what was measured by then, once every size has been.

    Raises:
        ConfigError, ModelError, BatchExecutionError: as `measure_profile`.
        KeyboardInterrupt: it was interrupted, and that part of a profile is not wanted.
    """
    where = f" on {placement.device}" if model.uses_torch else ""
    console.print(
        f"profiling {model.name}{where}: batches of up to {max_batch_size}, {budget_s:g} s at most"
    )
    with quiet_gc(), _Line(console) as line:
        profile = measure_profile(
            model,
            placement,
            clock,
            max_batch_size=max_batch_size,
            budget_s=budget_s,
            lengths=lengths,
            seed=seed,
            on_step=line.show,
        )
    if profile.interrupted and not keep_interrupted:
        raise KeyboardInterrupt
    return profile


class _Line:
    """Redraws itself four times a second at most; a console that is no terminal gets nothing."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._shown = console.is_terminal and not console.quiet
        self._next_s = 0.0

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, step: Step) -> None:
        now_s = time.perf_counter()
        if not self._shown or now_s < self._next_s:
            return
        self._next_s = now_s + _REFRESH_S
        done_s = min(step.elapsed_s, step.budget_s)
        line = progress_line(
            self._live.console.width,
            done_s,
            step.budget_s,
            f"{done_s:5.1f}/{step.budget_s:g} s",
            f"{step.batches:,} batches of 1 to {step.largest}" if step.batches else "warming up",
            f"now {step.size}",
        )
        self._live.update(line, refresh=True)
