"""One step's process: `python tests/reference step NAME ...`, started by the course."""

import argparse
import faulthandler
import importlib
import os
import shlex
import sys
import threading
import time
import traceback
from math import inf
from pathlib import Path

from tests.reference.course import INTERRUPTED, MISSING, OK, PARTLY
from tests.reference.folder import Folder
from tests.reference.naming import profile_name
from tests.reference.plan import Plan, Step, plan_for

# From the end of measuring to the end of the process.
_WINDING_UP_S = 2.0


class Context:
    """What a step works with.

    Attributes:
        plan, step, folder: of the reference run.
        seconds: what it may measure for.

    Args:
        until_s: when it is ended from outside, by the monotonic clock, which is the machine's.
    """

    def __init__(self, plan: Plan, step: Step, folder: Folder, seconds: float, until_s=inf):
        self.plan = plan
        self.step = step
        self.folder = folder
        self.seconds = seconds
        self._latest_s = until_s - _WINDING_UP_S
        self._until_s = None

    def start(self):
        """Begin to count: called once everything is loaded.

        Where that took longer than was thought, there is less to measure in.
        """
        now_s = time.monotonic()
        self.seconds = max(1.0, min(self.seconds, self._latest_s - now_s))
        self._until_s = now_s + self.seconds

    @property
    def left_s(self):
        """Of the time to measure, since `start`."""
        return self.seconds if self._until_s is None else self._until_s - time.monotonic()

    @property
    def slug(self):
        return self.folder.read("device")["slug"]

    def profile_of(self, engine, model=None, dtype=None):
        """The file of a profile."""
        plan = self.plan
        name = profile_name(self.slug, model or plan.model, dtype or plan.dtype, engine)
        return self.folder.profile(name)

    @property
    def engine(self):
        """The engine in which the main model serves most, of those that were profiled at first.

        It is kept, so that all parts are of one engine, whatever is profiled later.
        """
        chosen = self.folder.read("engine").get("engine")
        if chosen is not None:
            return chosen
        peaks = {
            engine: found["peak_rps"]
            for engine, found in self.folder.read("profile").items()
            if self.profile_of(engine).exists()
        }
        if not peaks:
            raise MissingPartError("there must be a profile: run the part 'profile' first")
        best = max(peaks, key=peaks.get)
        self.folder.write("engine", {"engine": best, "peak_rps": peaks})
        return best


class MissingPartError(Exception):
    """A part that this one builds on has not been run."""


def command_of(settings, *more):
    """The command line that does the same: tables of settings -> `dynbatch bench ...`."""
    options = [
        f"--{key.replace('_', '-')}={_typed(value)}"
        for table in settings.values()
        for key, value in table.items()
        if value not in (None, [], ()) and (key, value) != ("engine", "eager")
    ]
    return shlex.join(["dynbatch", "bench", *options, *more])


def _typed(value):
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _end_with_parent():
    """Do not go on alone where the course was killed: nobody would end this process."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def main(given):
    """Do the step that these arguments name, and leave with its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--device", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--until", type=float, default=inf)
    asked = parser.parse_args(given)
    plan = plan_for(asked.device)
    step = next(step for step in plan.steps() if step.name == asked.name)
    _end_with_parent()
    if asked.until < inf:  # where it is just before it is ended from outside
        faulthandler.dump_traceback_later(max(1.0, asked.until - time.monotonic() - 1.0))
    context = Context(plan, step, Folder(asked.folder), asked.seconds, asked.until)
    try:
        module = importlib.import_module(f"tests.reference.{step.module}")
        left_out = module.run(context, *step.options)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except MissingPartError as error:
        print(error, flush=True)
        os._exit(MISSING)
    except Exception as error:  # noqa: BLE001 - whatever it is, the course goes on and names it
        traceback.print_exc()
        missing = isinstance(error, ModuleNotFoundError)
        said = f"there is no package {error.name} here" if missing else " ".join(str(error).split())
        print(said or type(error).__name__, flush=True)
        os._exit(1)  # worker threads of a model that hangs would keep the interpreter
    if left_out:
        print(left_out, flush=True)
    sys.stdout.flush()
    # Worker threads of a model that hangs would keep the interpreter.
    os._exit(PARTLY if left_out else OK)
