"""Which tests run which lines, measured once for each test file and again when it may differ."""

import ast
import json
from functools import cached_property
from hashlib import sha256


class Lines:
    """The lines that the tests of a tree run.

    Args:
        tree: A copy of the repository.
        kept: The folder of what was measured, a file for each test file.
        tests: The test files or folders that count.
    """

    def __init__(self, tree, kept, tests):
        self.tree = tree
        modules = sorted(tree.rglob("*.py"))
        ours = {
            tree / "tests/mutants" / name for name in ("__main__.py", "lines.py", "operators.py")
        }
        common = _digest(f for f in modules if not f.name.startswith("test_") and f not in ours)
        self.state = {
            str(f.relative_to(tree)): common + _digest([f])
            for f in modules
            if f.name.startswith("test_") and any(f.is_relative_to(tree / t) for t in tests)
        }
        self.files = {file: kept / f"{state}.json" for file, state in self.state.items()}

    @cached_property
    def known(self):
        """What was measured, by test file."""
        return {f: json.loads(p.read_text()) for f, p in self.files.items() if p.exists()}

    def of(self, source, first, last):
        """Return the tests that run a statement at these lines of a file, {test: seconds}.

        What none runs in its own process may run in one that a test starts: any that starts one.
        """
        wanted = {str(n) for n in _statements((self.tree / source).read_text(), first, last)}
        found = {}
        for known in self.known.values():
            tests, lines = list(known["seconds"]), known["lines"].get(source, {})
            ran = {tests[i] for line in wanted & lines.keys() for i in lines[line]}
            found |= {test: known["seconds"][test] for test in ran}
        if not found:
            for known in self.known.values():
                found |= {test: known["seconds"][test] for test in known["starters"]}
        return found


def _digest(files):
    state = sha256()
    for file in files:
        state.update(file.name.encode() + file.read_bytes())
    return state.hexdigest()[:16]


def _statements(code, first, last):
    """Return all lines of the statements that lie at some.

    What runs on import, or is cached, concerns whoever runs any function of the file.
    """
    nodes = list(ast.walk(ast.parse(code)))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    bodies = {f: range(f.body[0].lineno, f.end_lineno + 1) for f in functions}
    around = [f for f in functions if first in bodies[f]]
    if not around or any("cache" in ast.unparse(d) for f in around for d in f.decorator_list):
        return set().union(*bodies.values())
    wanted = set(range(first, last + 1))
    for node in nodes:
        if isinstance(node, ast.stmt) and node not in functions:
            within = getattr(node, "body", None)
            end = max(node.lineno, within[0].lineno - 1) if within else node.end_lineno
            if node.lineno <= last and first <= end:
                wanted.update(range(node.lineno, end + 1))
    return wanted
