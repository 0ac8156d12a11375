"""The tests marked gpu, and what came of them."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.reference.packages import ROOT

INTERRUPTED = 2  # pytest's exit code
_REPORTING_S = 6.0


def run(context):
    """Run them with pytest; keep the counts, and the first line of what failed."""
    files = marked(ROOT / "tests")
    command = [
        sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider",
        "--continue-on-collection-errors", "-W", "default",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        code = _run([*command, f"--junitxml={report}", *map(str, files)])
        content = summary(report) if report.exists() else {"total": 0}
    names = [str(path.relative_to(ROOT)) for path in files]
    context.folder.write(
        "tests",
        {"command": "pytest -m gpu " + " ".join(names), "exit_code": code, **content},
    )
    if code == INTERRUPTED:
        return f"{content['total']} tests had been run by then"
    if code not in {0, 1}:  # 1: some failed, which is what was asked
        raise RuntimeError(f"pytest ended with exit code {code}")
    return ""


def _run(command):
    """Its exit code; an interrupt, which it gets too, lets it write its report."""
    # An environment that somebody else put together may hold any plugins, of which these tests need
    # none, and versions that warn of this and that.
    # What the stand-in does is nothing to be said of a device, unless all of this runs on it.
    stand_in = os.environ.get("DYNBATCH_FAKE_CUDA", "never")
    environment = {
        **os.environ, "DYNBATCH_FAKE_CUDA": stand_in, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait(_REPORTING_S)


def marked(folder):
    """The test files with tests marked gpu: others may need packages that are not here."""
    return sorted(
        path
        for path in folder.rglob("test_*.py")
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
        and path.name != "test_reference.py"
    )


def summary(report):
    """Counts and failures of a JUnit report."""
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest wrote it
    outcome = {id(case): _outcome(case) for case in cases}
    counts = {
        name: sum(found[0] == name for found in outcome.values())
        for name in ("passed", "failed", "skipped")
    }
    return {
        "total": len(cases),
        **counts,
        "seconds": round(sum(float(case.get("time", 0.0)) for case in cases), 1),
        "failures": {
            f"{case.get('classname')}::{case.get('name')}": outcome[id(case)][1]
            for case in cases
            if outcome[id(case)][0] == "failed"
        },
    }


def _outcome(case):
    for kind, name in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(kind)
        if found is not None:
            return name, (found.get("message") or "").split("\n")[0][:300]
    return "passed", ""
