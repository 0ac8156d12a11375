"""What the suite is run with: either every test's lines are noted, or a chosen few tests are run.

Loaded by `-p tests.mutants.plugin`. `MUTANTS_MAP` names a folder to note into, `MUTANTS_TESTS` a
file with the ids of the tests to run, in that order.
"""

import json
import os
from pathlib import Path

import pytest

NOTES, CHOSEN = "MUTANTS_MAP", "MUTANTS_TESTS"


def pytest_configure(config):
    controls_others = getattr(config.option, "numprocesses", None) and not hasattr(
        config, "workerinput"
    )
    if NOTES in os.environ and not controls_others:
        config.pluginmanager.register(_Notes(Path(os.environ[NOTES])))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if CHOSEN in os.environ:
        chosen = json.loads(Path(os.environ[CHOSEN]).read_text())
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in chosen if test in found]


class _Notes:
    """Which lines a test runs, as a coverage context, how long it takes, and whether it fails.

    What a fixture of a wider scope runs is noted under the file, or whatever else, it lives for.
    """

    def __init__(self, folder):
        import coverage

        self.file = folder / f"tests.{os.getpid()}.json"
        self.seconds, self.failed = {}, set()
        self.coverage = coverage.Coverage(
            data_file=str(folder / f"lines.{os.getpid()}"),
            source=["batching", "bench", "results"],
            config_file=False,
        )
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.coverage.switch_context(item.nodeid)
        self.running = item.nodeid
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "function":
            return (yield)
        self.coverage.switch_context(request.node.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context(self.running)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self):
        self.coverage.stop()
        self.coverage.save()
        self.file.write_text(json.dumps({"seconds": self.seconds, "failed": sorted(self.failed)}))
