"""Arms that are run for real: one replay each, every model loaded once."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from batching import Clock
from bench.comparison.arms import Arm
from bench.config import Settings
from bench.console import message_console
from bench.errors import RunFailedError
from bench.keeping import keep
from bench.recording import record
from bench.session import Session
from results.run import Run
from workloads import ResolvedTrace


class LiveArms:
    """Runs arms; call it with an arm, arrivals and a folder.

    The load is resolved once, by the control: a share of what it can do is the same load in
    requests per second for all.

    Args:
        arms: All arms, the control first.
        clock: real time.
        console: where to say what is being done.

    Raises:
        ConfigError, WorkloadError: something in the settings is not usable.
        RunFailedError: the model raised.
    """

    def __init__(self, arms: Sequence[Arm], clock: Clock, console: Console) -> None:
        control = arms[0].settings
        self._sessions: dict[str, Session] = {}
        alike = [arm.settings for arm in arms if arm.settings.model == control.model]
        self.control = Session(control, clock, console, also=alike)
        loaded = {control.model: self.control}
        for arm in arms:
            model = arm.settings.model
            if model not in loaded:
                alike = [other.settings for other in arms if other.settings.model == model]
                settings = at_rate(arm.settings, self.control.arrivals.rate_rps)
                loaded[model] = Session(settings, clock, console, also=alike)
            self._sessions[arm.name] = loaded[model]
        for session in loaded.values():
            session.console = message_console(quiet=True)

    def __call__(self, arm: Arm, arrivals: ResolvedTrace, folder: Path) -> Run:
        """Replay once and keep the run in its folder.

        Raises:
            KeyboardInterrupt: It was interrupted; what was measured of it is not kept.
            RunFailedError: The run ended early, or nothing was answered.
        """
        recording = record(self._sessions[arm.name].serving(arm.settings, arrivals))
        error = recording.first_error
        if recording.partial and (error is None or isinstance(error, KeyboardInterrupt)):
            raise KeyboardInterrupt
        run = keep(folder, recording)
        if recording.partial or not run.metrics.counts.ok:
            said = f": {' '.join(str(error).split())}" if error is not None else ""
            raise RunFailedError(f"{folder} failed, no request was answered to its end{said}")
        return run


def at_rate(settings: Settings, rate_rps: float) -> Settings:
    """The settings with their load given in requests per second."""
    load = settings.replay.model_copy(update={"rate": rate_rps, "utilization": None})
    return settings.model_copy(update={"replay": load})
