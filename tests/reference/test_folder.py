"""The folder and the archive of a reference run."""

import io
import os
import sys
import tarfile

import pytest

from tests.reference import course
from tests.reference.course import Ended
from tests.reference.folder import ARCHIVE, ARCHIVE_BYTES, DONE, SUMMARY, Folder
from tests.reference.plan import plan_for
from tests.reference.samples import H100, STEPS
from tests.reference.step import Context, MissingPartError


class TestTheFolder:
    def test_is_archived_whole_after_every_step(self, folder):
        seen = []

        def launch(step, given):
            if step is not STEPS[0]:
                with tarfile.open(folder.path / ARCHIVE) as tar:
                    seen.append(set(tar.getnames()))
            folder.write(f"of {step.name}", {"made": True})
            return Ended(DONE, 1.0)

        course.run(STEPS, folder, 500, launch, tell=lambda _: None)
        assert "h100/of sanity.json" in seen[0]
        assert {"h100/of profile eager.json", "h100/steps.json"} <= seen[1]
        assert not any(ARCHIVE in name for name in seen[-1])

    def test_is_archived_where_it_is_told_to_with_the_summary(self, tmp_path):
        made = Folder(tmp_path / "h100", tmp_path / "elsewhere" / "all.tar.gz")
        made.prepare(H100)
        made.write("profile", {})
        made.keep()
        with tarfile.open(tmp_path / "elsewhere" / "all.tar.gz") as tar:
            assert {"h100/summary.md", "h100/profile.json"} <= set(tar.getnames())
        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["all.tar.gz"]

    def test_is_restored_from_its_archive_on_another_machine(self, folder, tmp_path):
        folder.write("profile", {"eager": {"peak_rps": 1.0}})
        folder.profile("h100-resnet50-fp16").write_text("{}")
        folder.note(STEPS[0], DONE, took_s=1.0)
        folder.archive()
        other = Folder(tmp_path / "other" / "h100")
        assert other.restore(folder.archive_path)
        assert other.read("profile") == {"eager": {"peak_rps": 1.0}}
        assert other.profile("h100-resnet50-fp16").exists()
        assert other.steps == folder.steps
        other.write("profile", {})
        assert not other.restore(folder.archive_path), "what is there is newer"

    def test_takes_nothing_from_an_archive_that_would_lie_outside(self, tmp_path):
        path = tmp_path / "bad.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("h100/../../outside.json")
            tar.addfile(info, io.BytesIO())
        Folder(tmp_path / "h100").restore(path)
        assert not list(tmp_path.rglob("outside.json"))

    def test_of_more_than_a_machine_gives_back_leaves_the_least_telling_out(self, folder):
        noise = os.urandom(ARCHIVE_BYTES // 3)
        for name in ("a.png", "b.png", "c.png", "d.html"):
            (folder.path / name).write_bytes(noise)
        folder.write("profile", {})
        folder.archive()
        assert folder.archive_path.stat().st_size <= ARCHIVE_BYTES
        with tarfile.open(folder.archive_path) as tar:
            names = set(tar.getnames())
        assert {"h100/profile.json", "h100/d.html", "h100/a.png"} <= names
        assert "h100/c.png" not in names

    def test_keeps_its_archive_whole_whenever_a_writer_is_killed(self, folder):
        folder.write("profile", {})
        folder.archive()
        whole = folder.archive_path.read_bytes()
        part = folder.archive_path.with_name(f".{folder.archive_path.name}.part")
        part.write_bytes(whole[: len(whole) // 2])  # as a kill leaves it
        assert folder.archive_path.read_bytes() == whole
        folder.archive()
        assert not part.exists()

    def test_is_kept_where_it_cannot_be_summarised(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "tests.reference.summary", None)
        folder.keep()
        folder.write("bench", {"bursty 0.7": {"of": "another version"}})
        monkeypatch.undo()
        folder.keep()
        text = (folder.path / SUMMARY).read_text(encoding="utf-8")
        assert "There is no summary" in text
        assert "KeyError" in text
        with tarfile.open(folder.archive_path) as tar:
            assert "h100/bench.json" in tar.getnames()

    def test_leaves_what_is_not_fit_to_be_committed_to_git_ignore(self, folder):
        ignored = (folder.path / ".gitignore").read_text(encoding="utf-8").split()
        assert ignored == [ARCHIVE, "logs/", "tuning/", "run/"]


class TestTheEngine:
    @pytest.fixture
    def context(self, folder):
        plan = plan_for("cuda")
        own = Context(plan, plan.steps()[0], folder, 10.0)
        for engine in plan.engines:
            own.profile_of(engine).write_text("{}")
        return own

    def test_is_the_one_that_serves_most_of_those_profiled(self, context, folder):
        folder.add("profile", "eager", {"peak_rps": 100.0})
        folder.add("profile", "cudagraph", {"peak_rps": 300.0})
        assert context.engine == "cudagraph"

    def test_stays_the_same_for_all_parts_until_they_are_done_again(self, context, folder):
        folder.add("profile", "eager", {"peak_rps": 100.0})
        assert context.engine == "eager"
        folder.add("profile", "compile", {"peak_rps": 300.0})
        folder.write("bench", {"bursty 0.7": {}})
        assert context.engine == "eager"
        folder.forget(["bench"])
        assert context.engine == "compile"
        assert folder.read("bench") == {}
        assert set(folder.read("profile")) == {"eager", "compile"}

    def test_cannot_be_told_without_a_profile(self, context):
        with pytest.raises(MissingPartError, match="run the part 'profile' first"):
            _ = context.engine
