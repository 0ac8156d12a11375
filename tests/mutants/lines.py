"""Which tests run which lines: measured once, and again for the test files that changed since."""

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

from tests.mutants.plugin import NOTES

SOURCES = ("batching", "bench", "results", "workloads")


class TestLines:
    """The lines of each test, kept in a folder.

    Args:
        tree: The copy of the repository that the suite is run in.
        folder: Where what was measured is kept.
        tests: The test folders or files that count.
    """

    __test__ = False

    def __init__(self, tree, folder, tests):
        self.tree, self.kept = tree, folder / "lines.json"
        files = [file for path in tests for file in sorted((tree / path).rglob("test_*.py"))]
        files += [tree / path for path in tests if path.endswith(".py")]
        self.files = [str(file.relative_to(tree)) for file in files]
        helpers = [f for f in (tree / "tests").rglob("*.py") if not f.name.startswith("test_")]
        sources = [f for room in SOURCES for f in (tree / room).rglob("*") if f.is_file()]
        self.common = _digest(f for f in sources + helpers if "mutants" not in f.parts)
        # {test file: {"of": digest, "seconds": {test: s}, "lines": {source: {line: [test]}}}}
        self.known = json.loads(self.kept.read_text()) if self.kept.exists() else {}

    def digest(self, file):
        """Return what the lines of a test file depend on."""
        return self.common + _digest([self.tree / file])

    def measure(self, jobs):
        """Run the test files whose lines are not known."""
        stale = [f for f in self.files if self.known.get(f, {}).get("of") != self.digest(f)]
        if not stale:
            return
        print(f"measuring which lines {len(stale)} test files run", flush=True)
        notes = self.tree / "notes"
        notes.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin"),
            *("-p", "no:cacheprovider", "-n", str(jobs), "--dist", "loadfile", *stale),
        ]
        # Only this core of coverage.py knows contexts on every Python.
        environment = {**os.environ, NOTES: str(notes), "COVERAGE_CORE": "ctrace"}
        subprocess.run(command, cwd=self.tree, env=environment, check=False)
        self._merge(notes, stale)
        self.kept.write_text(json.dumps(self.known))

    def _merge(self, notes, stale):
        import coverage

        for file in stale:
            self.known[file] = {"of": self.digest(file), "seconds": {}, "lines": {}}
        failed = set()
        for part in notes.glob("tests.*.json"):
            said = json.loads(part.read_text())
            failed.update(said["failed"])
            for test, seconds in said["seconds"].items():
                self.known[test.split("::")[0]]["seconds"][test] = round(seconds, 3)
        for test in failed:  # it would be taken to find every mutant
            print(f"left out, as it fails on the code as it is: {test}")
            self.known[test.split("::")[0]]["seconds"].pop(test, None)
        for part in notes.glob("lines.*"):
            data = coverage.CoverageData(str(part))
            data.read()
            for measured in data.measured_files():
                source = str(Path(measured).relative_to(self.tree))
                for line, contexts in data.contexts_by_lineno(measured).items():
                    for test in filter(None, contexts):
                        lines = self.known[test.split("::")[0]]["lines"].setdefault(source, {})
                        lines.setdefault(str(line), []).append(test)

    def of(self, source, line, last):
        """Return the tests that run any statement at the lines, {test: seconds}."""
        wanted = _statement_lines((self.tree / source).read_text(), line, last)
        found = defaultdict(float)
        for file in self.files:
            known = self.known.get(file, {"lines": {}})
            tests = {
                test
                for number, those in known["lines"].get(source, {}).items()
                if int(number) in wanted
                for test in those
            }
            for test, seconds in known.get("seconds", {}).items():
                if test in tests or file in tests:
                    found[test] = seconds
        return dict(found)


def _digest(files):
    state = sha256()
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            state.update(str(file.name).encode() + b"\0" + file.read_bytes())
    return state.hexdigest()[:16]


def _statement_lines(code, first, last):
    """Return the lines of the statements at `first` to `last`.

    What is run once, on import, or whose results are kept, concerns whoever runs any function of
    the file.
    """
    tree = ast.parse(code)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    wanted = set()
    for line in range(first, last + 1):
        around = [f for f in functions if f.body[0].lineno <= line <= f.end_lineno]
        if not around or any("cache" in ast.unparse(d) for f in around for d in f.decorator_list):
            bodies = (range(f.body[0].lineno, f.end_lineno + 1) for f in functions)
            return set().union(*bodies)
        inner = max(around, key=lambda f: f.lineno)
        holds = [
            (n.lineno, n.body[0].lineno - 1 if getattr(n, "body", None) else n.end_lineno)
            for n in ast.walk(inner)
            if isinstance(n, ast.stmt | ast.ExceptHandler)
        ]
        fitting = [(a, b) for a, b in holds if a <= line <= max(a, b)]
        wanted.update(range(line, line + 1))
        if fitting:
            a, b = max(fitting)
            wanted.update(range(a, max(a, b) + 1))
    return wanted
