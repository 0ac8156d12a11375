"""Running the steps one after the other, each in a process of its own, within a budget of time.

A process of its own: a step that crashes, hangs or leaves the GPU's memory full takes nothing with
it, and what it takes can be measured from outside.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.reference.budget import share
from tests.reference.folder import CUT, DONE, FAILED, WAITING
from tests.reference.packages import ROOT

# Exit codes of a step: it ended what it had to do, or some of it in the time that it had.
OK, PARTLY, INTERRUPTED = 0, 4, 130
# After the signal that asks for an end, until the one that does not ask.
_GRACE_S = 8.0


@dataclass(frozen=True)
class Ended:
    """How a step's process ended.

    Attributes:
        state: "done", "cut" (by the clock, or by its own look at it) or "failed".
        took_s: wall time.
        reason: why it is not done.
    """

    state: str
    took_s: float
    reason: str = ""


def due(steps, noted, only=(), again=False):
    """The steps to run: of the parts asked for, without those that are done.

    Args:
        steps: all, in order.
        noted: what came of earlier runs, by name.
        only: parts; empty means all.
        again: those that are done, too.
    """
    return [
        step
        for step in steps
        if (not only or step.part in only)
        and (again or noted.get(step.name, {}).get("state") != DONE)
    ]


def run(steps, folder, budget_s, launch, *, tell=print, now=time.monotonic):
    """Run the steps that are due, in order, while there is time; returns whether all are done.

    What was cut, or found no time, has another go if others left some of theirs.

    Args:
        steps: those that are due.
        folder: where each step's outcome is kept, as soon as there is one.
        budget_s: for all of them together.
        launch: takes a step and its `Share`; returns `Ended`.
        tell: shows a line.
        now: the clock.
    """
    until_s = now() + budget_s
    states = {}
    for retry in (False, True):
        waiting = [s for s in steps if not retry or states[s.name] in {CUT, WAITING}]
        for index, step in enumerate(waiting):
            given = share([other.cost for other in waiting[index:]], until_s - now())
            if given is None and step.name in states:
                continue  # it has been said
            ended = _refused(step, until_s - now()) if given is None else launch(step, given)
            states[step.name] = ended.state
            earlier = folder.steps.get(step.name, {}).get("state")
            if ended.state != WAITING or earlier is None:
                folder.note(step, ended.state, took_s=ended.took_s, reason=ended.reason)
            folder.archive()
            tell(line(step, ended, given, until_s - now()))
    return set(states.values()) <= {DONE}


def _refused(step, left_s):
    needed_s = step.cost.fixed_s + step.cost.least_s
    reason = f"{max(0.0, left_s):.0f} s were left, it takes {needed_s:.0f} s at least"
    return Ended(WAITING, 0.0, reason)


def line(step, ended, given, left_s):
    """What is shown of a step that ended."""
    planned = "" if given is None else f" of {step.cost.fixed_s + given.work_s:.0f} s planned"
    why = f": {ended.reason}" if ended.reason else ""
    return (
        f"{step.name:<18} {ended.state:<7} {ended.took_s:6.1f} s{planned}, "
        f"{max(0.0, left_s):.0f} s left{why}"
    )


class Launcher:
    """Starts steps and ends them when their time is over.

    Args:
        folder: whose `logs/` take what they print.
        device: handed to them.
    """

    def __init__(self, folder, device):
        self._folder = folder
        self._device = device
        self._process = None

    def __call__(self, step, given):
        began = time.monotonic()
        log = self._folder.log(step)
        command = [
            sys.executable, "tests/reference", "step", step.name,
            "--device", self._device, "--folder", str(self._folder.path.resolve()),
            "--seconds", f"{given.work_s:.1f}",
        ]  # fmt: skip
        with log.open("wb") as out:
            # A group of its own, so that whatever it starts can be ended with it.
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, process_group=0
            )
            try:
                code = self._process.wait(given.limit_s)
            except subprocess.TimeoutExpired:
                self.stop()
                took_s = time.monotonic() - began
                return Ended(CUT, took_s, f"ended after {given.limit_s:.0f} s, its most")
        return _ended(code, time.monotonic() - began, log)

    def stop(self):
        """End the step in hand: asked first, which keeps what it has, then made to."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGINT, signal.SIGKILL):
            os.killpg(process.pid, number)
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                continue
            return


def _ended(code, took_s, log):
    if code == OK:
        return Ended(DONE, took_s)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((text.strip() for text in reversed(lines) if text.strip()), "it said nothing")
    if code in {PARTLY, INTERRUPTED}:
        return Ended(CUT, took_s, last)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Ended(FAILED, took_s, f"{how}: {last}"[:300])
