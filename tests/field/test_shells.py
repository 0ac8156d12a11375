"""What a shell, a notebook or a terminal does to a command: it works, or says why in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import cli

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from bench.cli import main; main()"]
LOAD = ["--model", "affine:2,0.05", "--trace", "poisson.json", "--rate", "100", "--duration", "2"]
ESCAPES = "\x1b]0;title\x07\x1b[2J\r\u202e\x9b"


def dynbatch(folder, *arguments, before="", behind="", **environment):
    """Run a command line, with what the shell does to it before and behind: ">&-", "| true"."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    script = f'set -o pipefail; {before} "$@" {behind}'
    return subprocess.run(
        ["/bin/bash", "-c", script, "bash", *COMMAND, *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env=env, check=False, timeout=300,
    )  # fmt: skip


def listing(folder, name, *notes):
    path = folder / "listed.json"
    arrivals = [i / 100 for i in range(600)]
    path.write_text(json.dumps({"name": name, "notes": notes, "arrival_s": arrivals}))
    return path


class TestBackendOfANotebook:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["simulate", *LOAD, "--out", "r"],
            ["simulate", *LOAD, "--sweep", "max_batch_size=1,2", "--out", "r"],
            ["capacity", *LOAD[:4], "--slo", "p99<=50ms", "--duration", "2", "--out", "r"],
            ["trace", "show", "poisson.json", "--rate", "100", "--out", "r"],
        ],
        ids=["simulate", "sweep", "capacity", "trace show"],
    )
    def test_is_not_asked_for(self, tmp_path, arguments):
        backend = "module://matplotlib_inline.backend_inline"  # not installed here
        done = dynbatch(tmp_path, *arguments, MPLBACKEND=backend)
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "r").rglob("*.png"))


class TestStreams:
    @pytest.mark.parametrize(
        ("behind", "said"),
        [
            (">&-", ""),
            ("2>&-", ""),
            (">&- 2>&-", ""),
            ("<&-", ""),
            ("| true", ""),
            ("2>/dev/full", ""),
            (">/dev/full", "stdout: No space left on device; the result is in r"),
            ("--json >&-", ""),
        ],
    )
    def test_that_take_nothing_lose_no_run(self, tmp_path, behind, said):
        done = dynbatch(tmp_path, "simulate", *LOAD, "--out", "r", behind=behind)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "r" / "run.json").read_text())["metrics"]
        assert (tmp_path / "r" / "report.html").exists()
        assert done.stderr.strip() == (f"dynbatch: {said}" if said else "")

    @pytest.mark.parametrize("arguments", [["models"], ["--version"]])
    def test_that_are_full_fail_a_command_whose_output_is_all_it_makes(self, tmp_path, arguments):
        done = dynbatch(tmp_path, *arguments, behind=">/dev/full")
        assert (done.returncode, done.stderr) == (1, "dynbatch: stdout: No space left on device\n")
        assert dynbatch(tmp_path, *arguments, behind=">&-").returncode == 0

    def test_that_are_closed_are_not_taken_by_the_next_file_that_is_opened(self, tmp_path):
        (tmp_path / "loud.py").write_text(
            "import os\nfrom batching.models.synthetic import AffineModel\n"
            "from batching import RealClock\n"
            "def make():\n    os.write(1, b'x' * 9999)\n"
            "    return AffineModel(0.002, 0.0001, RealClock())\n"
        )
        done = dynbatch(
            tmp_path, "bench", "--model", "loud.py:make", *LOAD[2:], "--out", "r", behind=">&-"
        )
        assert done.returncode == 0, done.stderr
        assert not any(b"xxxx" in p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file())

    def test_a_disk_that_is_full_is_named_with_the_path(self, tmp_path):
        done = dynbatch(tmp_path, "simulate", *LOAD, "--out", "r", before="ulimit -f 3;")
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("dynbatch: r/")
        assert "File too large" in line


class TestControlCharacters:
    @pytest.fixture
    def here(self, monkeypatch, capsys, tmp_path):
        """Run a command line in this process; returns (exit code, stdout, stderr)."""
        monkeypatch.chdir(tmp_path)

        def run(*arguments):
            monkeypatch.setattr(sys, "argv", ["dynbatch", *arguments])
            return cli.run(), *capsys.readouterr()

        run.folder = tmp_path
        return run

    @pytest.mark.parametrize(
        "arguments",
        [
            ["simulate", "--model", "affine:2,0.05", "--trace", "listed.json"],
            ["trace", "show", "listed.json"],
            ["trace", "fit", "listed.json"],
            ["bench", "--model", f"{ESCAPES}.py:make"],
            ["bench", "--trace", f"{ESCAPES}.json"],
            ["compare", "--a", f"{ESCAPES}=1", "--b", "max_batch_size=2"],
            ["bench", "--config", f"{ESCAPES}.toml"],
            ["bench", "--config", "odd.toml"],
            ["report", ESCAPES],
        ],
        ids=lambda value: " ".join(value[:2]),
    )
    def test_are_shown_and_not_passed_on(self, here, arguments):
        listing(here.folder, f"a{ESCAPES}b", f"note {ESCAPES}")
        (here.folder / "odd.toml").write_text('[model]\nmodel = "\\u001b[2J\\u202e"\n')
        _, out, err = here(*arguments)
        shown = out + err
        assert "\\x1b[2J" in shown
        assert not set(shown) & {*map(chr, [*range(9), *range(11, 32), *range(127, 160)]), "\u202e"}

    def test_are_harmless_on_a_page(self, here):
        listing(here.folder, "<script>alert(1)</script>\x1b[2J $\\frac{", "<b>note")
        code, _, err = here("simulate", *LOAD[:2], "--trace", "listed.json", "--out", "r")
        assert code == 0, err
        assert "<script>alert" not in (here.folder / "r" / "report.html").read_text()

    def test_a_name_is_no_markup(self, here):
        listing(here.folder, "[bold]x[/] :smile:")
        _, out, _ = here("trace", "show", "listed.json")
        assert "[bold]x[/] :smile:" in out


@pytest.mark.parametrize(
    ("arguments", "after_s"),
    [
        (["bench", *LOAD, "--duration", "60"], 0.2),
        (["bench", *LOAD, "--duration", "60"], 4.0),
        (["tune", *LOAD, "--budget", "5m"], 4.0),
        (["profile", "--model", "affine:20,1"], 4.0),
        (["compare", *LOAD, "--a", "max_batch_size=1", "--b", "max_batch_size=2"], 4.0),
    ],
    ids=["importing", "bench", "tune", "profile", "compare"],
)
def test_ctrl_c_is_one_line_and_130_at_every_stage(tmp_path, arguments, after_s):
    begun = "from bench.cli import main; print('begun', flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", begun, *arguments, "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    [line] = err.splitlines()
    assert line.startswith("dynbatch: interrupted")
