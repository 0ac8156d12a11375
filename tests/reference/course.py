"""Running the steps one after the other, each in a process of its own, within a budget of time.

A process of its own: a step that crashes, hangs or leaves the GPU's memory full takes nothing with
it, and what it takes can be measured from outside.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import groupby

from tests.reference.budget import beside, share
from tests.reference.folder import CUT, DONE, FAILED, WAITING
from tests.reference.packages import ROOT
from tests.reference.plan import AFTER_A_FAILED_GATE, GATE

# Exit codes of a step: it ended what it had to do, or some of it in the time that it had; or what
# it builds on is not there yet.
OK, PARTLY, MISSING, INTERRUPTED = 0, 4, 5, 130
# After the signal that asks for an end, until the one that does not ask.
GRACE_S = 4.0
# While a step runs, what it has kept so far is archived this often.
_ARCHIVED_EVERY_S = 5.0
# What all others build on keeps its place, whatever came of it before.
_BASES = ("sanity", "profile")


@dataclass(frozen=True)
class Ended:
    """How a step's process ended.

    Attributes:
        state: "done", "cut" (by the clock, or by its own look at it), "failed", or "no time".
        took_s: wall time.
        reason: why it is not done.
    """

    state: str
    took_s: float
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a course: whether all is done, and whether the device was fit for it."""

    complete: bool
    sane: bool


def due(steps, noted, only=(), again=False):
    """The steps to run: of the parts asked for, without those that are done.

    First those that nothing is known of, in their order; then those that were cut; then those that
    failed, which may well fail again.

    Args:
        steps: all, in order.
        noted: what came of earlier runs, by name.
        only: parts; empty means all.
        again: those that are done, too.
    """
    states = {name: note["state"] for name, note in noted.items()}
    asked = [
        step
        for step in steps
        if (not only or step.part in only) and (again or states.get(step.name) != DONE)
    ]
    ranks = {CUT: 1, FAILED: 2}
    return sorted(
        asked, key=lambda step: 0 if step.part in _BASES else ranks.get(states.get(step.name), 0)
    )


def run(steps, folder, budget_s, launch, *, tell=print, now=time.monotonic, stop=lambda: None):
    """Run the steps that are due, in order, while there is time.

    What was cut, or found no time, has another go if others left some of theirs. Where the gate
    fails, the tests are run, which may tell why, and nothing else.

    Args:
        steps: those that are due.
        folder: where each step's outcome is kept, as soon as there is one.
        budget_s: for all of them together.
        launch: takes a step and its `Share`; returns `Ended`.
        tell: shows a line.
        now: the clock.
        stop: ends what was launched and has not ended.
    """
    until_s = now() + budget_s
    states = {}

    def note(step, ended, given):
        if ended.state == CUT and not folder.read(step.part):
            ended = replace(ended, state=WAITING)  # nothing is kept that could be gone on with
        states[step.name] = ended.state
        earlier = folder.steps.get(step.name, {}).get("state")
        if ended.state != WAITING or earlier is None:
            folder.note(step, ended.state, took_s=ended.took_s, reason=ended.reason)
        tell(line(step, ended, given, until_s - now()))
        folder.keep()

    for retry in (False, True):
        waiting = [s for s in steps if not retry or states.get(s.name) in {CUT, WAITING}]
        groups = together(waiting)
        for index, group in enumerate(groups):
            vital = group[0].part in _BASES and group[0].call == 1
            given = share(_costs(groups[index:]), until_s - now(), vital=vital)
            if given is None:
                for step in group:
                    if step.name not in states:
                        note(step, _refused(step, until_s - now()), None)
                continue
            for step, ended in _launched(group, given, launch, stop):
                note(step, ended, given)
            if group[0].part == GATE and states[group[0].name] != DONE:
                _after_a_failed_gate(steps, until_s - now(), launch, note)
                return Outcome(complete=False, sane=False)
    return Outcome(complete=set(states.values()) <= {DONE}, sane=True)


def _after_a_failed_gate(steps, left_s, launch, note):
    for step in steps:
        given = share([step.cost], left_s) if step.part == AFTER_A_FAILED_GATE else None
        if given is not None:
            note(step, launch(step, given), given)


def together(steps):
    """The steps in groups, each of those that run at the same time."""
    return [
        list(group)
        for _, group in groupby(steps, key=lambda step: step.beside or f"alone: {step.name}")
    ]


def _costs(groups):
    """Of the first and those that it shares the time with: a later call has what is left."""
    first = groups[0][0]
    return [
        beside([step.cost for step in group])
        for group in groups
        if group[0].call == first.call or group is groups[0]
    ]


def _launched(group, given, launch, stop):
    """Each step of the group with how it ended, as they end."""
    if len(group) == 1:
        yield group[0], launch(group[0], given)
        return
    with ThreadPoolExecutor(len(group)) as pool:
        running = {pool.submit(launch, step, given): step for step in group}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            stop()  # or the pool would wait for them
            raise


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
        self._running = set()
        self._archiving = threading.Lock()

    def __call__(self, step, given):
        began = time.monotonic()
        log = self._folder.log(step)
        command = [
            sys.executable, "tests/reference", "step", step.name,
            "--device", self._device, "--folder", str(self._folder.path.resolve()),
            "--seconds", f"{given.work_s:.1f}", "--until", f"{began + given.limit_s:.1f}",
        ]  # fmt: skip
        with log.open("wb") as out:
            # A group of its own, so that whatever it starts can be ended with it.
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, process_group=0
            )
            self._running.add(process)
            code = self._wait(process, began + given.limit_s)
            if code is None:
                _end(process)
        self._running.discard(process)
        took_s = time.monotonic() - began
        if code is None:
            return Ended(CUT, took_s, f"ended after {given.limit_s:.0f} s, its most")
        return _ended(code, took_s, log)

    def _wait(self, process, until_s):
        """Its exit code; None where its time is over first."""
        while True:
            left_s = until_s - time.monotonic()
            try:
                return process.wait(max(0.0, min(left_s, _ARCHIVED_EVERY_S)))
            except subprocess.TimeoutExpired:
                if left_s <= _ARCHIVED_EVERY_S:
                    return None
            with self._archiving:
                self._folder.archive()

    def stop(self):
        """End the steps in hand."""
        for process in list(self._running):
            _end(process)


def _end(process):
    """Asked first, which keeps what it has, then made to."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _ended(code, took_s, log):
    if code == OK:
        return Ended(DONE, took_s)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((text.strip() for text in reversed(lines) if text.strip()), "it said nothing")
    if code in {PARTLY, INTERRUPTED}:
        return Ended(CUT, took_s, last)
    if code == MISSING:
        return Ended(WAITING, took_s, last)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Ended(FAILED, took_s, f"{how}: {last}"[:300])
