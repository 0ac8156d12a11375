"""`make gpu-reference`: what is claimed of one device, measured in under ten minutes.

Parts that are done are skipped, so it may be stopped at any time and called again, on another
machine too. It needs no network.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import InputError
from bench.hardware.environment import COMMIT_VARIABLE
from bench.settings import parse_duration_s
from tests.reference import course
from tests.reference.folder import SUMMARY, Folder, OtherDeviceError
from tests.reference.packages import FOR_TESTS, ROOT, declared, missing_packages, remark
from tests.reference.plan import PARTS, plan_for

OK, FAILED, INPUT, UNFIT, INTERRUPTED = 0, 1, 2, 3, 130
# Pictures, summary and archive, when all else is done or was made to end.
_DRAWING_S = 8.0
_CONCLUDING_S = _DRAWING_S + 2 * course.GRACE_S + 1.0


def read_arguments(given):
    parser = argparse.ArgumentParser(prog="make gpu-reference", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:<index> or cpu (reduced)")
    parser.add_argument("--out", type=Path, help="folder; default reference/<device>")
    parser.add_argument("--budget", default="9m", help="time in all: 9m, 540s")
    parser.add_argument("--archive", type=Path, help="file for all of it, 16 MiB at most")
    parser.add_argument("--resume", type=Path, help="archive of an earlier call to go on from")
    parser.add_argument("--commit", help="of this source, where git cannot tell")
    parser.add_argument("--only", default="", help="parts, with commas between")
    parser.add_argument("--again", action="store_true", help="parts that are done, too")
    parser.add_argument("--list", action="store_true", help="list the parts and their time")
    parser.add_argument("--summary", action="store_true", help="write the summary, run nothing")
    return parser.parse_args(given)


class UsageError(Exception):
    """Something that was asked for cannot be."""


def main(given, began_s=None):
    """Run with these arguments, and leave with an exit code.

    Args:
        given: the arguments.
        began_s: when the process began, by the monotonic clock; now, if it is not given.
    """
    began_s = time.monotonic() if began_s is None else began_s
    try:
        sys.exit(carry_out(read_arguments(given), began_s))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(INPUT)


def carry_out(arguments, began_s):
    """Check, run what is due, write the summary; returns the exit code."""
    only, budget_s = _checked(arguments)
    plan = plan_for(arguments.device)
    if arguments.list:
        _list(plan)
        return OK
    if arguments.summary:
        return _summarise(arguments.out)
    lacking = missing_packages([*declared(), *FOR_TESTS])
    if lacking:
        print(remark(lacking), file=sys.stderr)
    found = identify(arguments.device)
    folder = _folder(arguments, found)
    if arguments.commit:
        os.environ[COMMIT_VARIABLE] = arguments.commit
    steps = course.due(plan.steps(), folder.steps, only, arguments.again)
    if arguments.again:
        folder.forget(step.part for step in steps)
    print(f"{found['name']}: {len(steps)} steps to do, {budget_s:.0f} s; {folder.path}", flush=True)
    launcher = course.Launcher(folder, arguments.device)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcome = course.run(
            steps,
            folder,
            budget_s - _CONCLUDING_S - (time.monotonic() - began_s),
            launcher,
            tell=lambda text: print(text, flush=True),
            stop=launcher.stop,
        )
    except KeyboardInterrupt:
        launcher.stop()
        _conclude(folder)
        print("interrupted; what is done is kept: call it again to go on", file=sys.stderr)
        return INTERRUPTED
    _conclude(folder)
    print(f"{time.monotonic() - began_s:.0f} s in all")
    if not outcome.sane:
        print("the part sanity failed: nothing else was measured", file=sys.stderr)
        return UNFIT
    return OK if outcome.complete else FAILED


def _checked(arguments):
    """The parts asked for and the budget in seconds."""
    only = tuple(part.strip() for part in arguments.only.split(",") if part.strip())
    unknown = set(only) - set(PARTS)
    if unknown:
        raise UsageError(f"parts are {', '.join(PARTS)}, but got {', '.join(sorted(unknown))}")
    if arguments.commit and not re.fullmatch(r"[0-9a-f]{7,40}(\+dirty)?", arguments.commit):
        raise UsageError(f"commit must be a hash of 7 to 40 digits, but got {arguments.commit}")
    try:
        return only, parse_duration_s("budget", arguments.budget)
    except InputError as error:
        raise UsageError(str(error)) from None


def identify(device):
    """The device's name, asked in a process of its own: this one is to hold no memory there."""
    asked = subprocess.run(
        [sys.executable, "tests/reference", "device", device],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise UsageError((asked.stderr.strip().splitlines() or ["the device cannot be asked"])[-1])
    return json.loads(asked.stdout)


def _folder(arguments, found):
    """The folder of the run, with what an earlier call left in an archive."""
    path = arguments.out or Path("reference") / found["slug"]
    folder = Folder(path, arguments.archive)
    earlier = arguments.resume
    if earlier is None and arguments.archive and arguments.archive.exists():
        earlier = arguments.archive  # it would be written over
    try:
        if earlier is not None and folder.restore(earlier):
            print(f"going on from {earlier}", flush=True)
        folder.prepare(found)
        folder.archive()
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(
            f"{earlier} must be the archive of a reference run, but: {error}"
        ) from None
    except (OtherDeviceError, OSError) as error:
        raise UsageError(str(error)) from None
    began = datetime.now(UTC).isoformat(timespec="seconds")
    folder.add("calls", began, {**found, "host": platform.node(), "budget": arguments.budget})
    return folder


def _summarise(path):
    """The summary of a folder, on any machine."""
    if path is None or not (path / "device.json").exists():
        raise UsageError(f"out must be the folder of a reference run, but got {path}")
    _conclude(Folder(path))
    return OK


def _conclude(folder):
    """Pictures, in the time that there is for them; summary, archive."""
    command = [sys.executable, "tests/reference", "draw", str(folder.path.resolve())]
    try:
        drawn = subprocess.run(
            command, cwd=ROOT, timeout=_DRAWING_S, capture_output=True, text=True, check=False
        )
        said = drawn.stderr.strip().splitlines() if drawn.returncode else []
    except subprocess.TimeoutExpired:
        said = [f"not done after {_DRAWING_S:.0f} s"]
    if said:
        print(f"pictures: {said[-1]}", file=sys.stderr)
    folder.keep()
    print(f"summary: {folder.path / SUMMARY}\narchive: {folder.archive_path}", flush=True)


def _list(plan):
    for part, what in PARTS.items():
        print(f"{part}: {what}")
        for step in plan.steps():
            if step.part == part:
                cost = step.cost
                later = ", in the second call" if step.call > 1 else ""
                print(
                    f"    {step.name}: {cost.fixed_s:g} s and {cost.work_s:g} s to measure{later}"
                )
    for call, name in ((1, "the first call"), (2, "the second")):
        own = [step for step in plan.steps() if step.call == call]
        total_s = sum(max(s.cost.most_s for s in group) for group in course.together(own))
        print(f"{name}: {total_s:g} s at its longest, and {_CONCLUDING_S:g} s to conclude")
