"""A tuning that is killed again and again, and what it had done each time.

    python -m tests.bench.killed FOLDER STAGE:COUNT...

runs a tuning in FOLDER in one process after another. Each kills itself with SIGKILL when it is
about to do something of that stage for the COUNT-th time; the last is left to end. Whatever was
finished is a line in FOLDER/done. The device is a simulation, and the model's time is virtual.
"""

import json
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from batching import VirtualClock
from batching.models import AffineModel
from bench.profiling import load
from bench.settings import ModelSettings, ReplaySettings, Settings
from bench.tuning.record import record_of
from bench.tuning.simulated import search as simulated_search
from bench.tuning.simulated.simulator import Simulator
from bench.tuning.tune import Request, carry_out, read_request
from tests.bench.tuning.test_tune import StandIn
from tests.bench.tuning.tuned import QUICK

ASKED = Request(
    settings=Settings(
        model=ModelSettings(model="affine:5,0.1"),
        replay=ReplaySettings(trace="poisson.json", rate=800.0, duration=1.0),
    ),
    search=("max_batch_size=1:64",),
    trials=14,
    patience=20,
    budget_s=600.0,
    profile_budget_s=1.0,
)
DONE, TOLD = "done", "told.json"


class Hooks:
    """Writes down what is finished, and kills the process in the middle of what it is told."""

    def __init__(self, folder, kill_at):
        stage, _, count = kill_at.partition(":")
        self._path = folder / DONE
        self._stage = stage
        self._left = int(count or 0)
        self._elsewhere = False

    def around(self, stage, what, act):
        """Do something of a stage, or die in it."""
        if stage == self._stage:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        result = act()
        with self._path.open("a") as file:  # nothing is in a buffer when the process is killed
            file.write(json.dumps([stage, *what]) + "\n")
        return result

    def install(self):
        """Put them where profiling, simulating and running is done."""
        evidence, run = Simulator.evidence, AffineModel.run

        def simulated(simulator, settings):
            stage = "search" if simulator.first == 0 else "closely"
            if self._elsewhere:
                stage = "other traffic"  # of the recommended setting
            return self.around(
                stage, [settings.model_dump_json()], lambda: evidence(simulator, settings)
            )

        def profiled(model, inputs):
            return self.around("profile", [len(inputs)], lambda: run(model, inputs))

        def elsewhere(function):
            def called(*arguments):
                self._elsewhere = True
                try:
                    return function(*arguments)
                finally:
                    self._elsewhere = False

            return called

        Simulator.evidence = simulated
        simulated_search.at_other_traffic = elsewhere(simulated_search.at_other_traffic)
        AffineModel.run = profiled
        load.exact_source = lambda *_: None  # measured, as a real model is


class Device(StandIn):
    """A device whose runs are simulations."""

    def __init__(self, hooks):
        super().__init__()
        self._hooks = hooks

    def __call__(self, arm, arrivals, folder, ender=None):
        stage = folder.parts[-3]
        what = ["/".join(folder.parts[-2:]), arrivals.trace.fingerprint()]
        return self._hooks.around(
            stage, what, lambda: super(Device, self).__call__(arm, arrivals, folder)
        )


def tune(folder, kill_at=""):
    """One process: from the beginning, or on from where the last one was killed."""
    hooks = Hooks(folder, kill_at)
    hooks.install()
    asked = read_request(folder) if (folder / "request.json").exists() else ASKED
    result = carry_out(
        asked,
        folder,
        VirtualClock(),
        Console(quiet=True),
        effort=QUICK,
        make_runner=lambda _: Device(hooks),
    )
    (folder / TOLD).write_text(record_of(result).as_json())


def main():
    """Fork before each of them: the packages are imported once."""
    folder = Path(sys.argv[1])
    ends = []
    for kill_at in [*sys.argv[2:], ""]:
        child = os.fork()
        if child == 0:
            tune(folder, kill_at)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.stdout.write(json.dumps(ends))


if __name__ == "__main__":
    main()
