"""What pytest is run with: the lines of every test are noted, or only chosen tests are run."""

import json
import os
import sys
from pathlib import Path

import pytest

NOTES, CHOSEN = "MUTANTS_NOTES", "MUTANTS_CHOSEN"  # the file to note in, the file that names tests


def pytest_configure(config):
    if NOTES in os.environ:
        config.pluginmanager.register(_Notes(Path(os.environ[NOTES])))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if CHOSEN in os.environ:
        found = {item.nodeid: item for item in items}
        items[:] = [found[t] for t in json.loads(Path(os.environ[CHOSEN]).read_text())]


class _Notes:
    """Coverage with a context for every test, and for whatever a wider fixture lives for."""

    def __init__(self, file):
        import coverage

        self.file, self.context, self.seconds, self.failed = file, "", {}, set()
        self.starters = set()
        sys.addaudithook(self._hear)
        rooms = ["batching", "bench", "results", "workloads"]
        self.coverage = coverage.Coverage(data_file=None, source=rooms, config_file=False)
        self.coverage.start()

    def _hear(self, event, _):
        if event in {"subprocess.Popen", "os.fork"}:
            self.starters.add(self.context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.context = item.nodeid
        self.coverage.switch_context(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        self.coverage.switch_context(
            self.context if fixturedef.scope == "function" else request.node.nodeid
        )
        try:
            return (yield)
        finally:
            self.coverage.switch_context(self.context)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self, exitstatus):
        self.coverage.stop()
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        # One that fails on the code as it is would be taken to find every mutant.
        tests = {test: s for test, s in self.seconds.items() if test not in self.failed}
        numbers, lines, data = (
            {test: i for i, test in enumerate(tests)},
            {},
            self.coverage.get_data(),
        )
        for source in data.measured_files():
            of_source = lines[os.path.relpath(source)] = {}
            for line, contexts in data.contexts_by_lineno(source).items():
                wider = tuple(f"{context}::" for context in contexts if context not in self.seconds)
                ran = {t for t in tests if t in contexts or (wider and t.startswith(wider))}
                of_source[line] = sorted(numbers[test] for test in ran)
        starters = sorted(self.starters & set(tests))
        self.file.write_text(json.dumps({"seconds": tests, "lines": lines, "starters": starters}))
