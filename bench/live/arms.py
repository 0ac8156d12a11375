"""Arms that are run for real: one replay each, every model loaded once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from batching import Clock
from bench.console import message_console
from bench.errors import RunFailedError
from bench.live.measure import RunStopper, measure_run, write_run
from bench.live.plan import PlannedRun, plan_run
from bench.live.session import Session
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    Settings,
)
from bench.traces.arrivals import draws_like
from bench.traces.source import load_replayed
from results.run.record import Run
from workloads import ResolvedTrace

# What must be one for all arms: another model answers another question.
SHARED_MODEL = ("model", "weights")


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm.

    Args:
        name: "a" for the control, then "b", "c", ...; the name of its folders too.
        settings: Everything that decides its runs.
    """

    name: str
    settings: Settings

    @property
    def label(self) -> str:
        """What it is, in short: timeout 32 / 10 ms, in_flight 2."""
        batcher, model = self.settings.batcher, self.settings.model
        said = f"{batcher.policy} {batcher.max_batch_size} / {batcher.batch_timeout_ms:g} ms"
        named = {"policy", "max_batch_size", "batch_timeout_ms"}
        further = [
            *_changed(batcher, BatcherSettings(), named),
            *_changed(model, ModelSettings(), {*SHARED_MODEL}),
        ]
        return ", ".join([said, *further])


def _changed(
    table: BatcherSettings | ModelSettings,
    default: BatcherSettings | ModelSettings,
    named: set[str],
) -> list[str]:
    values, usual = table.model_dump(mode="json"), default.model_dump(mode="json")
    return [
        f"{key} {'/'.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in values.items()
        if key not in named and value != usual[key]
    ]


class LiveArms:
    """Runs arms; call it with an arm, arrivals and a folder.

    The load is resolved once, by the control: a share of what it can do is the same load in
    requests per second for all.

    Args:
        arms: All arms, the control first.
        clock: real time.
        console: where to say what is being done.
        warm_up_budget_s: time for warming up before each run; None for the batcher's default.

    Raises:
        ConfigError, WorkloadError: something in the settings is not usable.
        RunFailedError: the model raised.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        clock: Clock,
        console: Console,
        *,
        warm_up_budget_s: float | None = None,
    ) -> None:
        control = arms[0].settings
        self._spec = load_replayed(control.replay, console)
        self._loaded: dict[ModelSettings, tuple[Session, PlannedRun]] = {}
        for arm in arms:
            model = arm.settings.model
            if model in self._loaded:
                continue
            knobs = [other.settings.batcher for other in arms if other.settings.model == model]
            session = Session(model, knobs, clock, console, warm_up_budget_s=warm_up_budget_s)
            # The control comes first, and its load is that of all.
            settings = arm.settings
            if self._loaded:
                settings = at_rate(settings, self.load.rate_rps)
            self._loaded[model] = session, plan_run(session, settings, self._spec)
        self._control = control
        for session, _ in self._loaded.values():
            session.console = message_console(quiet=True)

    @property
    def load(self) -> ResolvedTrace:
        """The arrivals at the load that was resolved by the control."""
        _, run = next(iter(self._loaded.values()))
        return run.arrivals

    def draws(self, count: int) -> list[ResolvedTrace]:
        """Several draws of the trace, all at that load.

        Raises:
            WorkloadError: the trace cannot be drawn that often, or not at that length.
        """
        return draws_like(self.load, self._spec, self._control.replay, count)

    def __call__(
        self, arm: Arm, arrivals: ResolvedTrace, folder: Path, ender: RunStopper | None = None
    ) -> Run:
        """Replay once and keep the run in its folder.

        Args:
            arm: any with the model of one of the arms that were given.
            arrivals: what is sent.
            folder: of the run.
            ender: may end it before its time; the run is then that of the window until there.

        Raises:
            KeyboardInterrupt: It was interrupted; the run is kept if it was whole by then.
            RunFailedError: The run ended early, or nothing was answered.
        """
        session, planned = self._loaded[arm.settings.model]
        run = replace(planned, settings=arm.settings, arrivals=arrivals)
        recording = measure_run(session, run, ender)
        if recording.interrupted and recording.partial:
            raise KeyboardInterrupt
        measured = write_run(folder, recording)
        if recording.interrupted:
            raise KeyboardInterrupt
        error = recording.first_error
        ended = ender is not None and ender.window_s is not None
        if recording.partial or not (measured.metrics.counts.ok or ended):
            said = f": {' '.join(str(error).split())}" if error is not None else ""
            raise RunFailedError(f"{folder} failed, no request was answered to its end{said}")
        return measured


def at_rate(settings: Settings, rate_rps: float) -> Settings:
    """The settings with their load given in requests per second."""
    load = settings.replay.model_copy(update={"rate": rate_rps, "utilization": None})
    return settings.model_copy(update={"replay": load})
