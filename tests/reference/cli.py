"""`make gpu-reference`: what is claimed of one device, measured in under ten minutes.

Parts that are done are skipped, so it may be stopped at any time and called again.
It needs no network.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.reference.folder import ARCHIVE, SUMMARY, Folder, OtherDeviceError
from tests.reference.packages import FOR_TESTS, ROOT, complaint, declared, missing_packages, remark

OK, FAILED, INPUT, INTERRUPTED = 0, 1, 2, 130
# Pictures, summary and archive, when all else is done.
_CONCLUDING_S = 5.0


def read_arguments(given):
    parser = argparse.ArgumentParser(prog="make gpu-reference", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:<index> or cpu (reduced)")
    parser.add_argument("--out", type=Path, help="folder; default reference/<device>")
    parser.add_argument("--budget", default="9m", help="time in all: 9m, 540s")
    parser.add_argument("--only", default="", help="parts, with commas between")
    parser.add_argument("--again", action="store_true", help="parts that are done, too")
    parser.add_argument("--list", action="store_true", help="list the parts and their time")
    parser.add_argument("--summary", action="store_true", help="write the summary, run nothing")
    return parser.parse_args(given)


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


class UsageError(Exception):
    """Something that was asked for cannot be."""


def main(given):
    """Run with these arguments, and leave with an exit code."""
    try:
        sys.exit(carry_out(read_arguments(given)))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(INPUT)


def carry_out(arguments):
    """Check, run what is due, write the summary; returns the exit code."""
    began = time.monotonic()
    missing = missing_packages([*declared(), *FOR_TESTS])
    if missing.asked:
        raise UsageError(complaint(missing))
    if missing.beyond:
        print(remark(missing), file=sys.stderr)
    from bench.durations import parse_duration_s
    from bench.errors import InputError
    from tests.reference import course
    from tests.reference.plan import PARTS, plan_for

    only = tuple(part.strip() for part in arguments.only.split(",") if part.strip())
    unknown = set(only) - set(PARTS)
    if unknown:
        raise UsageError(f"parts are {', '.join(PARTS)}, but got {', '.join(sorted(unknown))}")
    try:
        budget_s = parse_duration_s("budget", arguments.budget)
    except InputError as error:
        raise UsageError(str(error)) from None
    plan = plan_for(arguments.device)
    if arguments.list:
        _list(plan)
        return OK
    if arguments.summary:
        return _summarise(arguments.out)
    found = identify(arguments.device)
    folder = Folder(arguments.out or Path("reference") / found["slug"])
    try:
        folder.prepare(found)
    except (OtherDeviceError, OSError) as error:
        raise UsageError(str(error)) from None
    steps = course.due(plan.steps(), folder.steps, only, arguments.again)
    if arguments.again:
        folder.forget(step.part for step in steps)
    print(f"{found['name']}: {len(steps)} steps to do, {budget_s:.0f} s; {folder.path}", flush=True)
    launcher = course.Launcher(folder, arguments.device)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        complete = course.run(
            steps,
            folder,
            budget_s - _CONCLUDING_S - (time.monotonic() - began),
            launcher,
            tell=lambda text: print(text, flush=True),
        )
    except KeyboardInterrupt:
        launcher.stop()
        _conclude(folder)
        print("interrupted; what is done is kept: call it again to go on", file=sys.stderr)
        return INTERRUPTED
    _conclude(folder)
    print(f"{time.monotonic() - began:.0f} s in all")
    return OK if complete else FAILED


def _summarise(path):
    """The summary of a folder, on any machine."""
    if path is None or not (path / "device.json").exists():
        raise UsageError(f"out must be the folder of a reference run, but got {path}")
    return _conclude(Folder(path))


def _conclude(folder):
    """Pictures, summary, archive."""
    from tests.reference import figures, summary

    figures.draw(folder)
    summary.write(folder)
    folder.archive()
    print(f"summary: {folder.path / SUMMARY}\narchive: {folder.path / ARCHIVE}", flush=True)
    return OK


def _list(plan):
    from tests.reference.plan import PARTS

    for part, what in PARTS.items():
        print(f"{part}: {what}")
        for step in plan.steps():
            if step.part == part:
                cost = step.cost
                print(f"    {step.name}: {cost.fixed_s:g} s and {cost.work_s:g} s to measure")
    total_s = sum(step.cost.fixed_s + step.cost.work_s for step in plan.steps())
    print(f"all at their longest: {total_s:g} s; a shorter budget shortens all alike")
