"""The command of a reference run, and what it needs."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from bench.hardware.environment import COMMIT_VARIABLE
from tests.reference import packages
from tests.reference.course import Ended
from tests.reference.folder import FAILED
from tests.reference.plan import PARTS
from tests.reference.samples import profiled

pytestmark = pytest.mark.long


class TestPackages:
    @staticmethod
    def installed(**versions):
        def find(name):
            if name not in versions:
                raise PackageNotFoundError(name)
            version, *needs = versions[name]
            return SimpleNamespace(version=version, requires=needs)

        return find

    def test_that_lack_are_named_all_at_once(self):
        find = self.installed(numpy=["2.1"])
        lacking = packages.missing_packages(["numpy>=1.26", "optuna>=5", "torch>=2.6"], find)
        assert lacking == ("optuna>=5", "torch>=2.6")
        line = packages.remark(lacking)
        assert "optuna>=5, torch>=2.6" in line
        assert "\n" not in line

    def test_that_are_too_old_are_named_with_what_there_is(self):
        find = self.installed(optuna=["4.1"])
        lacking = packages.missing_packages(["optuna>=5"], find)
        assert lacking == ("optuna>=5 (it has 4.1)",)

    def test_that_others_need_are_named_too_but_for_extras(self):
        needs = ["5.0", "alembic>=1.5", "redis; extra == 'storage'"]
        find = self.installed(optuna=needs, alembic=["1.9", "optuna"])
        assert packages.missing_packages(["optuna>=5"], find) == ()
        lacking = packages.missing_packages(["optuna>=5"], self.installed(optuna=needs))
        assert lacking == ("alembic>=1.5",)


class TestTheCommand:
    @pytest.fixture
    def command(self, capsys):
        """Run it in this process; returns (exit code, stdout, stderr)."""
        from tests.reference import cli

        def run(*arguments):
            with pytest.raises(SystemExit) as left:
                cli.main([*map(str, arguments)])
            captured = capsys.readouterr()
            return left.value.code, captured.out, captured.err

        return run

    @pytest.fixture
    def hide(self, monkeypatch, tmp_path):
        """Have a package be missing in whatever is started."""

        def hide(name):
            (tmp_path / f"{name}.py").write_text(
                f"raise ModuleNotFoundError('no {name}', name='{name}')", encoding="utf-8"
            )
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))

        return hide

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--only", "profile,nonsense"], "parts are sanity, profile,"),
            (["--budget", "never"], "budget must be a time above 0"),
            (["--device", "cpus"], "device must be auto, cpu, cuda"),
            (["--commit", "main"], "commit must be a hash of 7 to 40 digits, but got main"),
            (["--summary"], "out must be the folder of a reference run"),
        ],
    )
    def test_refuses_what_it_cannot_do_in_one_line(self, command, arguments, said):
        code, _, err = command(*arguments)
        assert code == 2
        lines = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1
        assert said in lines[0]

    def test_refuses_to_go_on_from_what_is_no_archive(self, command, tmp_path):
        bad = tmp_path / "bad.tar.gz"
        bad.write_bytes(b"PK")
        code, _, err = command("--device", "cpu", "--resume", bad, "--out", tmp_path / "here")
        assert code == 2
        assert "must be the archive of a reference run, but" in err

    def test_goes_on_without_a_package_that_only_some_parts_need(self, command, tmp_path, hide):
        hide("optuna")
        out = tmp_path / "here"
        code, said, err = command(
            "--device", "cpu", "--only", "sanity,tune", "--out", out, "--budget", "90s"
        )
        assert code == 1
        assert re.search("sanity +done", said), said + err
        steps = json.loads((out / "steps.json").read_text(encoding="utf-8"))
        assert "there must be a profile" in steps["tune"]["reason"]

    def test_says_in_one_line_what_nothing_goes_without(self):
        bare = [sys.executable, "-S", "tests/reference", "--device", "cpu"]  # no packages at all
        ended = subprocess.run(bare, cwd=packages.ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "must have the package numpy, but has not" in ended.stderr
        assert ended.stderr.count("\n") == 1

    def test_lists_what_it_would_do(self, command):
        code, out, _ = command("--list")
        assert code == 0
        assert all(f"{part}: " in out for part in PARTS)

    def test_writes_the_summary_of_a_folder_from_another_machine(self, command, folder):
        folder.write("profile", {"eager": profiled("eager", 3000.0, 150.0)})
        code, _, err = command("--summary", "--out", folder.path)
        assert code == 0, err
        assert "3,000 req/s" in (folder.path / "summary.md").read_text(encoding="utf-8")
        assert (folder.path / "profile.png").exists()

    def test_measures_a_part_and_skips_it_the_next_time(self, command, tmp_path):
        out, archive = tmp_path / "here", tmp_path / "given" / "all.tar.gz"
        arguments = ["--device", "cpu", "--only", "sanity", "--out", out, "--budget", "90s"]
        arguments += ["--archive", archive]
        code, said, err = command(*arguments)
        assert code == 0, said + err
        assert "1 steps to do" in said
        found = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        assert found["device"] == "cpu"
        assert found["packages"]["torch"]
        assert "0 steps to do" in command(*arguments)[1]
        shutil.rmtree(out)
        code, said, err = command(*arguments)
        assert f"going on from {archive}" in said
        assert "0 steps to do" in said

    def test_takes_the_commit_of_a_source_without_its_history(self, command, tmp_path, monkeypatch):
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
        monkeypatch.setenv(COMMIT_VARIABLE, "")  # put back afterwards
        out = tmp_path / "here"
        arguments = ["--device", "cpu", "--only", "sanity", "--out", out, "--budget", "90s"]
        assert command(*arguments, "--commit", "0123abc")[0] == 0
        found = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        assert found["git_commit"] == "0123abc"

    def test_with_a_gate_that_stays_shut_has_an_exit_code_of_its_own(
        self, command, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(
            "tests.reference.course.Launcher.__call__",
            lambda *_: Ended(FAILED, 1.0, "results are off"),
        )
        out = tmp_path / "here"
        code, said, err = command("--device", "cpu", "--out", out)
        assert code == 3
        assert "results are off" in said
        assert "nothing else was measured" in err
