"""The tests marked gpu, and what came of them, one by one as they end.

They run in a process of their own. A test that hangs, or that takes the process with it, is named,
and the others go on in a new one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.reference.journal import BEGAN, DONE, ENDED, read
from tests.reference.packages import ROOT

# A test that takes longer hangs: the slowest compiles a model.
_LONGEST_S = 60.0
# Before that, pytest writes where each thread is.
_TELL_S = 45.0
# Collecting them, torch's import included.
_COLLECTING_S = 90.0
_LOOK_S = 0.5
# Tests are called by their files' paths from here.
_NAMED_FROM = ROOT
# pytest's exit codes: all passed, some failed, none was found.
_RAN = (0, 1, 5)


def run(context):
    """Run those that are not done; keep counts, and the first line of what failed."""
    context.start()
    files = marked(ROOT / "tests")
    names = [str(path.relative_to(_NAMED_FROM)) for path in files]
    done = context.folder.read("tests").get("tests", {})

    def keep():
        counts = counted(done)
        command = "pytest -m gpu " + " ".join(names)
        context.folder.write("tests", {"command": command, **counts, "tests": done})

    keep()
    while True:
        before = len(done)
        with tempfile.TemporaryDirectory() as scratch:
            how = _session(files, done, Path(scratch) / "journal", context, keep)
        keep()
        if how == "" or context.left_s <= 0.0:
            break
        if len(done) == before:  # the process itself cannot do it
            raise RuntimeError(f"pytest {how}")
    hung = ", ".join(test for test, found in done.items() if found["outcome"] == "hung")
    if how:
        return f"{len(done)} tests had been run by then" + (f"; hung: {hung}" if hung else "")
    return ""


def _session(files, done, path, context, keep):
    """Run them in one process; returns how that ended, if not by itself."""
    command = [
        sys.executable, "-u", "tests/reference", "pytest", str(path),
        "-m", "gpu", "-v", "-p", "no:cacheprovider", "--continue-on-collection-errors",
        "-W", "default", "-o", f"faulthandler_timeout={_TELL_S:g}", *map(str, files),
    ]  # fmt: skip
    path.with_suffix(DONE).write_text(json.dumps([*done]), encoding="utf-8")
    # An environment that somebody else put together may hold any plugins, of which these tests need
    # none, and versions that warn of this and that.
    # What the stand-in does is nothing to be said of a device, unless all of this runs on it.
    stand_in = os.environ.get("DYNBATCH_FAKE_CUDA", "never")
    environment = {
        **os.environ, "DYNBATCH_FAKE_CUDA": stand_in, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            return _watched(process, done, path, context, keep)
        finally:
            if process.poll() is None:
                process.kill()


def _watched(process, done, path, context, keep):
    seen, current, since_s = 0, None, time.monotonic()
    while True:
        code = process.poll()
        events = read(path)
        for event in events[seen:]:
            since_s = time.monotonic()
            if event["event"] == BEGAN:
                current = event["test"]
            elif event["event"] == ENDED:
                current = None
                done[event["test"]] = {key: event[key] for key in ("outcome", "seconds", "why")}
                keep()
        seen = len(events)
        took_s = time.monotonic() - since_s
        if code is not None:
            if current is None:
                return "" if code in _RAN else f"ended with exit code {code}"
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            done[current] = _ended("failed", took_s, f"it ended the process: {how}")
            return how
        if current is not None and took_s > _LONGEST_S:
            process.send_signal(signal.SIGABRT)  # which has it say where each thread is
            done[current] = _ended("hung", took_s, f"no end after {took_s:.0f} s")
            with suppress(subprocess.TimeoutExpired):
                process.wait(10 * _LOOK_S)
            return "hung"
        if current is None and not seen and took_s > _COLLECTING_S:
            return f"had not begun after {took_s:.0f} s"
        if context.left_s <= 0.0:
            return "had no more time" + (f", in {current}" if current else "")
        time.sleep(_LOOK_S)


def _ended(outcome, took_s, why):
    return {"outcome": outcome, "seconds": round(took_s, 2), "why": why}


def marked(folder):
    """The test files with tests marked gpu: others may need packages that are not here."""
    return sorted(
        path
        for path in folder.rglob("test_*.py")
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
        and path.parent.name != "reference"  # those are about this
    )


def counted(done):
    """Counts and failures, of test -> outcome, seconds, why."""
    counts = {
        name: sum(found["outcome"] == name for found in done.values())
        for name in ("passed", "failed", "skipped", "hung")
    }
    return {
        "total": len(done),
        **counts,
        "seconds": round(sum(found["seconds"] for found in done.values()), 1),
        "failures": {
            test: found["why"]
            for test, found in done.items()
            if found["outcome"] in ("failed", "hung")
        },
    }
