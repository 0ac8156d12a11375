"""What becomes of each test, written down as it goes: `python tests/reference pytest FILE ...`.

A line of JSON for each event: `began` before a test, `ended` after it. Whatever ends the process,
the last line says how far it came. Tests that a file beside it lists are left out.
"""

import json
import sys
from pathlib import Path

import pytest

BEGAN, ENDED = "began", "ended"
# The end of the name of the file that lists those that are done.
DONE = ".done"


class Journal:
    """A plug-in of pytest.

    Args:
        path: the file, which is added to.
        done: tests that are not to be run.
    """

    def __init__(self, path, done):
        self._done = set(done)
        self._file = open(path, "a", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as pytest
        self._parts = []

    def pytest_collection_modifyitems(self, config, items):
        left_out = [item for item in items if item.nodeid in self._done]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item.nodeid not in self._done]

    def pytest_runtest_logstart(self, nodeid):
        self._parts = []
        self._write(event=BEGAN, test=nodeid)

    def pytest_runtest_logreport(self, report):
        self._parts.append(report)

    def pytest_runtest_logfinish(self, nodeid):
        worst = next((p for p in self._parts if p.failed), None)
        skipped = next((p for p in self._parts if p.skipped), None)
        outcome = "failed" if worst else "skipped" if skipped else "passed"
        seconds = sum(part.duration for part in self._parts)
        self._write(
            event=ENDED, test=nodeid, outcome=outcome, seconds=round(seconds, 2), why=_why(worst)
        )

    def pytest_collectreport(self, report):
        if report.failed:
            self._write(
                event=ENDED, test=report.nodeid, outcome="failed", seconds=0.0, why=_why(report)
            )

    def _write(self, **event):
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def _why(report):
    """The first line of what was raised; empty if nothing was."""
    if report is None:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash is not None else str(report.longrepr)
    return said.strip().split("\n")[0][:300]


def read(path):
    """The events of a journal; a line that was cut off is none."""
    events = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
    return events


def main(path, arguments):
    """Run pytest with these arguments and a journal there; leaves with its exit code."""
    done = json.loads(Path(path).with_suffix(DONE).read_text(encoding="utf-8"))
    sys.exit(pytest.main(list(arguments), plugins=[Journal(path, done)]))
