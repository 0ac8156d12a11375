"""Which small changes to the code no test notices.

A change is tried in a copy of the tree, by the tests that run the lines it is in. What came of it
is kept in `.mutants/`: the same command goes on where it was stopped, and tries again only what
other code or other tests may answer differently.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.lines import Lines
from tests.mutants.operators import mutant, sample
from tests.mutants.plugin import CHOSEN, NOTES

ROOT = Path(__file__).parents[2]
FILES = [
    "batching", "bench/simulation/engine.py", "results/run/metrics.py", "results/run/verdict.py",
    "results/statistics",
]  # fmt: skip
TESTS = ["tests/batching", "tests/bench", "tests/results", "tests/workloads"]
GPU_ONLY = {"cuda.py", "cuda_executor.py", "graphs.py", "flops.py", "memory.py"}
RESULTS = ("killed", "killed: too slow", "survives", "not covered", "gone", "not tried")


def main():
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=200, help="of changes to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--list", type=Path, help="instead: a file of JSON lines, file, old, new")
    parser.add_argument("--files", nargs="+", default=FILES, help="what to change")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="what to try it with")
    parser.add_argument("--jobs", type=int, default=2, help="at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="at most, in all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of tests for each change")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (ROOT / ".mutants").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        as_it_is, *trees = [_copy(Path(folder) / str(job)) for job in range(asked.jobs + 1)]
        lines = Lines(as_it_is, ROOT / ".mutants", asked.tests)
        trial = Trial(lines, trees, asked.seconds, time.monotonic() + 60.0 * asked.minutes)
        trial.each([f for f, kept in lines.files.items() if not kept.exists()], trial.measure)
        if asked.list:
            mutants, gone = _listed(as_it_is, asked.list)
        else:
            files = _sources(as_it_is, asked.files)
            mutants, gone = sample(as_it_is, files, asked.number, asked.seed), []
        if time.monotonic() < trial.stop_s:
            trial.each(mutants, trial.attempt)
    _tell(mutants, gone, trial.results)


class Trial:
    """Tries changes, one in each tree at a time, until the monotonic clock says `stop_s`."""

    def __init__(self, lines, trees, seconds, stop_s):
        self.lines, self.seconds, self.stop_s = lines, seconds, stop_s
        self.trees, self.jobs = SimpleQueue(), len(trees)
        for tree in trees:
            self.trees.put(tree)
        self.kept, self.results, self.stamps = ROOT / ".mutants/tried.jsonl", {}, count(1)
        said = self.kept.read_text().splitlines() if self.kept.exists() else []
        self.tried = {entry["of"]: entry for entry in map(json.loads, said)}

    def each(self, tasks, work):
        """Do it with each of the tasks."""

        def in_a_tree(task):
            tree = self.trees.get()
            try:
                work(task, tree)
            finally:
                self.trees.put(tree)

        with ThreadPoolExecutor(self.jobs) as pool:
            doing = [pool.submit(in_a_tree, task) for task in tasks]
            try:
                wait(doing)
            except KeyboardInterrupt:
                print("interrupted: the same command goes on from here")
                self.stop_s = 0.0
        for done in doing:
            done.result()

    def measure(self, file, tree):
        """Note which lines a test file runs."""
        notes = {NOTES: str(self.lines.files[file]), "COVERAGE_CORE": "ctrace"}
        code, said = self._pytest(tree, [file], notes, 1800.0)
        if code is not None:
            print(file, said.splitlines()[-1], flush=True)

    def attempt(self, each, tree):
        """Try a change, unless that was done."""
        seconds = self.lines.of(each.file, each.first, each.last)
        tests = self._chosen(each.file, seconds)
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        of = " ".join([each.key, *(self.lines.state[file] for file in files)])
        entry = self.tried.get(of)
        if not tests:
            entry = {"result": "not covered"}
        elif entry is None or (entry["result"] == "survives" and entry["ran"] < len(tests)):
            entry = self._tried(each, tree, tests, files, sum(seconds[test] for test in tests))
            if time.monotonic() >= self.stop_s:
                return
            entry |= {"of": of, "ran": len(tests), "left": len(seconds) - len(tests)}
            with self.kept.open("a") as kept:
                kept.write(json.dumps(entry) + "\n")
        self.results[each.key] = entry
        print(len(self.results), entry["result"], each.key, flush=True)

    def _chosen(self, file, seconds):
        """Those of the file's own room first, the quick ones first, file by file."""
        room, chosen, left_s = "tests/" + file.split("/")[0], [], self.seconds
        for test in sorted(seconds, key=lambda t: (not t.startswith(room), seconds[t], t)):
            left_s -= seconds[test]
            if chosen and left_s < 0.0:
                break
            chosen.append(test)
        files = list(dict.fromkeys(test.split("::")[0] for test in chosen))
        return sorted(chosen, key=lambda test: files.index(test.split("::")[0]))

    def _tried(self, each, tree, tests, files, seconds):
        code = (tree / each.file).read_text()
        (tree / "chosen").write_text(json.dumps(tests))
        self._write(tree / each.file, each.code)
        try:
            chosen = {CHOSEN: str(tree / "chosen")}
            ended, said = self._pytest(tree, ["-x", *files], chosen, 60.0 + 5.0 * seconds)
        finally:
            self._write(tree / each.file, code)
        if ended is None:
            return {"result": "killed: too slow"}
        first = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        by = {"by": first.group(1) if first else said[-200:]} if ended else {}
        return {"result": "killed" if ended else "survives"} | by

    def _write(self, file, code):
        file.write_text(code)
        stamp = next(self.stamps)  # Python takes old bytecode for code of the same stamp and size
        os.utime(file, (stamp, stamp))

    def _pytest(self, tree, arguments, variables, limit_s):
        """Return how it exited and what it said; None where it took longer."""
        command = [*(sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin"),
                   *("-p", "no:cacheprovider"), *arguments]  # fmt: skip
        stop_s = min(self.stop_s, time.monotonic() + limit_s)
        if time.monotonic() >= stop_s:
            return None, ""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=tree, env={**os.environ, **variables, "PYTHONPATH": str(tree)},
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            while process.poll() is None and time.monotonic() < min(stop_s, self.stop_s):
                time.sleep(0.05)
            ended = process.poll()
            if ended is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            return ended, output.read()


def _copy(tree):
    """Copy what git knows or would add: no change is ever left behind in the tree itself."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def _sources(tree, paths):
    files = [f for path in paths for f in (tree / path, *sorted((tree / path).rglob("*")))]
    files = [f for f in files if f.suffix == ".py" and f.name not in GPU_ONLY]
    return [str(f.relative_to(tree)) for f in files]


def _listed(tree, listed):
    mutants, gone = [], []
    for entry in map(json.loads, listed.read_text().splitlines()):
        file, old, new = (entry[name] for name in ("file", "old", "new"))
        code = (tree / file).read_text() if (tree / file).exists() else ""
        if old in code:
            mutants.append(mutant(file, code, code.replace(old, new, 1), f"{old!r} {new!r}"))
        else:
            gone.append(entry)
    return mutants, gone


def _tell(mutants, gone, results):
    table = {}
    for entry in gone:
        table.setdefault(entry["file"], Counter())["gone"] += 1
        print(f"\ngone from {entry['file']}: {entry['old']!r}")
    for each in mutants:
        entry = results.get(each.key, {"result": "not tried"})
        table.setdefault(each.file, Counter())[entry["result"]] += 1
        if entry["result"] in ("survives", "not covered"):
            ran = f": {entry['ran']} tests, {entry['left']} not run" if "ran" in entry else ""
            print(f"\n{entry['result']}{ran}\n{each.diff}")
    table = dict(sorted(table.items())) | {"all": sum(table.values(), Counter())}
    print("\n| file |", " | ".join(RESULTS), "|\n" + "|---" * (len(RESULTS) + 1) + "|")
    for file, row in table.items():
        print(f"| {file} |", " | ".join(str(row[result]) for result in RESULTS), "|")


if __name__ == "__main__":
    main()
