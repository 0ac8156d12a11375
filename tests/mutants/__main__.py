"""Which small changes to the code no test notices.

    python -m tests.mutants [--number 200] [--seed 0] [--files PATH ...]
    python -m tests.mutants --list FILE     # JSON lines of file, old, new

Every mutant is tried in a copy of the tree, by the tests that run the lines it changes. What was
tried is kept in `.mutants/`, so that the same command goes on where it was stopped, and tries again
only what changed code or tests may answer differently.
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
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.mutants.lines import TestLines
from tests.mutants.operators import mutant, sample
from tests.mutants.plugin import CHOSEN

ROOT = Path(__file__).parents[2]
FILES = [
    "batching", "bench/simulation/engine.py", "results/metrics.py", "results/paired.py",
    "results/verdict.py", "results/statistics",
]  # fmt: skip
GPU_ONLY = {"cuda.py", "cuda_execution.py", "graphs.py", "flops.py", "memory.py"}
TESTS = ["tests/batching", "tests/bench", "tests/results"]


def main():
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=200, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--list", type=Path, help="try these instead: JSON lines of file, old, new")
    parser.add_argument("--files", nargs="+", default=FILES, help="files or folders to change")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders of tests")
    parser.add_argument("--jobs", type=int, default=2, help="at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="at most, in all")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of tests for a mutant, the quickest first"
    )
    asked = parser.parse_args()
    stop_s = time.monotonic() + 60.0 * asked.minutes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = ROOT / ".mutants"
    kept.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        trees = [_copy(Path(folder) / str(job)) for job in range(asked.jobs)]
        lines = TestLines(trees[0], kept, asked.tests)
        lines.measure(asked.jobs)
        if asked.list:
            mutants, gone = _listed(trees[0], asked.list)
        else:
            mutants, gone = sample(trees[0], _sources(asked.files), asked.number, asked.seed), []
        trial = Trial(lines, kept / "tried.jsonl", asked.seconds, stop_s)
        trial.run(mutants, trees)
    return _tell(mutants, gone, trial)


def _copy(tree):
    """Copy what git knows, or would, so that no mutant is ever left behind in the real tree."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S607
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def _sources(paths):
    found = [f for p in paths for f in ([ROOT / p] if p.endswith(".py") else (ROOT / p).rglob("*"))]
    files = {f for f in found if f.suffix == ".py" and f.name not in GPU_ONLY}
    return sorted(str(f.relative_to(ROOT)) for f in files)


def _listed(tree, listed):
    mutants, gone = [], []
    for line in filter(None, listed.read_text().splitlines()):
        entry = json.loads(line)
        file = tree / entry["file"]
        code = file.read_text() if file.exists() else ""
        if entry["old"] in code:
            changed = code.replace(entry["old"], entry["new"], 1)
            mutants.append(mutant(entry["file"], code, changed, f"{entry['old']!r} {entry['new']!r}"))
        else:
            gone.append(entry)
    return mutants, gone


class Trial:
    """Tries mutants, several at once.

    Args:
        lines: Which tests run what.
        kept: The file of what was tried.
        seconds: Of tests for one mutant, as measured.
        stop_s: When to stop, on the monotonic clock.
    """

    def __init__(self, lines, kept, seconds, stop_s):
        self.lines, self.kept, self.seconds, self.stop_s = lines, kept, seconds, stop_s
        said = kept.read_text().splitlines() if kept.exists() else []
        self.tried = {entry["of"]: entry for entry in map(json.loads, said)}
        self.results, self.lock, self.stopped = {}, threading.Lock(), False
        self.running, self.stamps = {}, count(int(time.time()))

    def run(self, mutants, trees):
        """Try each that was not tried yet, until the time is over."""
        queue = SimpleQueue()
        for each in mutants:
            queue.put(each)
        threads = [threading.Thread(target=self._work, args=(queue, tree)) for tree in trees]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) and time.monotonic() < self.stop_s:
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from here")
        with self.lock:
            self.stopped = True
            for process in self.running.values():
                os.killpg(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()

    def _work(self, queue, tree):
        while not self.stopped:
            try:
                each = queue.get_nowait()
            except Empty:
                return
            tests, left_out = self._tests(each)
            files = sorted({test.split("::")[0] for test in tests})
            of = " ".join([each.key, self.lines.common, *map(self.lines.digest, files)])
            entry = self.tried.get(of) or self._try(each, tests, files, tree)
            if entry is None:
                return
            with self.lock:
                if of not in self.tried:
                    entry |= {"of": of, "tests": len(tests), "left_out": left_out}
                    with self.kept.open("a") as kept:
                        kept.write(json.dumps(entry) + "\n")
                self.results[each.key] = entry
                print(f"{len(self.results)} {entry['result']} {each.key}", flush=True)

    def _tests(self, each):
        """Return the tests to run, those of the same room first, and how many more there are."""
        seconds = self.lines.of(each.file, each.first, each.last)
        room = each.file.split("/")[0]
        order = sorted(seconds, key=lambda t: (not t.startswith(f"tests/{room}"), seconds[t], t))
        chosen, total_s = [], 0.0
        for test in order:
            total_s += seconds[test]
            if chosen and total_s > self.seconds:
                break
            chosen.append(test)
        files = {test.split("::")[0]: i for i, test in reversed(list(enumerate(chosen)))}
        chosen.sort(key=lambda test: files[test.split("::")[0]])  # a file's fixtures are set up once
        return chosen, len(order) - len(chosen)

    def _try(self, each, tests, files, tree):
        if not tests:
            return {"result": "not covered"}
        changed = tree / each.file
        code = changed.read_text()
        names = tree / "chosen.json"
        names.write_text(json.dumps(tests))
        try:
            self._write(changed, each.code)
            return self._pytest(tree, files, names, tests)
        finally:
            self._write(changed, code)

    def _write(self, file, code):
        file.write_text(code)
        stamp = next(self.stamps)  # of equal stamp and size, Python would take the old bytecode
        os.utime(file, (stamp, stamp))

    def _pytest(self, tree, files, names, tests):
        command = [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "tests.mutants.plugin"),
            *("-p", "no:cacheprovider", *files),
        ]
        environment = {**os.environ, CHOSEN: str(names), "PYTHONPATH": str(tree)}
        with (tree / "output").open("w+") as output:
            with self.lock:
                if self.stopped:
                    return None
                process = subprocess.Popen(
                    command, cwd=tree, env=environment, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
                self.running[tree] = process
            try:
                code = process.wait(60.0 + 5.0 * min(self.seconds, len(tests)))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
            with self.lock:
                del self.running[tree]
                if self.stopped:
                    return None
            output.seek(0)
            said = output.read()
        if code == 0 or code is None:
            return {"result": "killed, out of time" if code is None else "survives"}
        first = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        return {"result": "killed", "by": first.group(1) if first else said[-300:]}


def _tell(mutants, gone, trial):
    table = {}
    for each in mutants:
        result = trial.results.get(each.key, {"result": "not tried"})["result"]
        table.setdefault(each.file, Counter())[result] += 1
    for entry in gone:
        table.setdefault(entry["file"], Counter())["gone"] += 1
        print(f"\ngone from {entry['file']}: {entry['old']}")
    for each in mutants:
        entry = trial.results.get(each.key, {"result": "not tried"})
        if entry["result"] in {"survives", "not covered"}:
            ran = f"{entry['tests']} tests, {entry['left_out']} left out"
            print(f"\n{entry['result']} ({ran})\n{each.diff}")
    columns = ("killed", "killed, out of time", "survives", "not covered", "gone", "not tried")
    print("\n| file | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
    for file in sorted(table):
        print(f"| {file} | " + " | ".join(str(table[file][name]) for name in columns) + " |")
    total = sum(table.values(), Counter())
    print("| all | " + " | ".join(str(total[name]) for name in columns) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
