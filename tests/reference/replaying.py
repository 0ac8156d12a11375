"""Replays of one model, loaded once: other traces, other loads, other knobs."""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from batching import RealClock
from batching.profiles import load_profile
from bench.errors import RunFailedError
from bench.live.measure import measure_run, write_run
from bench.live.plan import plan_run
from bench.live.session import Session
from bench.profiling.load import Loaded
from bench.profiling.service_times import ProfileSource
from bench.settings import load_settings
from bench.traces.source import load_replayed

# Of each replay's batcher, which are many; what is not warm then is soon.
_WARM_UP_S = 2.0


class Replays:
    """A model ready to be replayed against.

    Args:
        model: the keys of `[model]`.
        path: the profile that predictions are made from.
        predict: whether each replay is predicted.
    """

    def __init__(self, model, path, *, predict=True):
        self.profile = load_profile(path)
        self._model = model
        self._predict = predict
        self.quiet = Console(quiet=True)
        self._loaded = Loaded(
            ProfileSource(self.profile),
            self.profile.subject.model,
            self.profile.subject.device,
            self.profile,
            path,
        )
        self._session = None

    @property
    def source(self):
        return self._loaded.source

    def settings(self, batcher, replay):
        """Everything that decides a run."""
        return load_settings(None, {**self._model, **batcher, **replay})

    def load(self, batcher, replay):
        """Load the model now, so that it is in no replay's time."""
        self.planned(self.settings(batcher, replay))

    def planned(self, settings):
        """A run of the model under this load, behind these knobs."""
        if self._session is None:
            self._session = Session(
                settings.model,
                [settings.batcher],
                RealClock(),
                self.quiet,
                warm_up_budget_s=_WARM_UP_S,
            )
        spec = load_replayed(settings.replay, self.quiet)
        return plan_run(self._session, settings, spec, self._loaded if self._predict else None)

    def run(self, settings, command, read):
        """Replay once; `read` is given the analysed run before its folder goes.

        Raises:
            KeyboardInterrupt: it was interrupted.
            RunFailedError: nothing was answered.
        """
        planned = self.planned(settings)
        recording = measure_run(self._session, planned)
        if recording.interrupted:
            raise KeyboardInterrupt
        with tempfile.TemporaryDirectory() as scratch:
            # What run.json gives as its command is one that does the same.
            sys.argv = command
            run = write_run(Path(scratch) / "run", recording)
            if not run.metrics.counts.ok:
                raise RunFailedError(f"nothing was answered: {recording.first_error}")
            return read(run)
