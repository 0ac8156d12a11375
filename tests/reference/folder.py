"""The folder of a reference run: numbers, pictures, profiles, and which steps are done.

Every file is written whole and in its place only then, so a run may be killed at any time. What is
of no use to a reader (logs, the archive) is git-ignored by a file in the folder itself.
"""

import io
import json
import os
import shutil
import tarfile
import threading
import time
import traceback
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

STATE, ARCHIVE, SUMMARY = "steps.json", "reference.tar.gz", "summary.md"
PROFILES, LOGS, TUNING, RUN = "profiles", "logs", "tuning", "run"
DONE, CUT, FAILED, WAITING = "done", "cut", "failed", "no time"
_IGNORED = f"{ARCHIVE}\n{LOGS}/\n{TUNING}/\n{RUN}/\n"
# A machine may give back no larger file; what goes into it first, by the end of its name.
ARCHIVE_BYTES = 16 * 2**20
_FIRST = (".json", ".md", ".toml", ".log", ".html", "")
# Of a file in an archive, beside its content.
_ENTRY_BYTES = 1024


class OtherDeviceError(Exception):
    """A folder holds what was measured on another device."""


class Folder:
    """What is written and read back, by names of files without their `.json`.

    Args:
        path: the folder.
        archive: the file that `keep` puts all of it into; by default one in the folder.
    """

    def __init__(self, path, archive=None):
        self.path = Path(path)
        self.archive_path = Path(archive) if archive else self.path / ARCHIVE
        self._lock = threading.Lock()

    def prepare(self, device):
        """Make it, for this device: a name and its slug.

        Raises:
            OtherDeviceError: what is in it is of another one.
        """
        known = self.read("device")
        if known and known["slug"] != device["slug"]:
            raise OtherDeviceError(
                f"out must be a folder of {device['slug']}, but {self.path} is of {known['slug']}"
            )
        (self.path / PROFILES).mkdir(parents=True, exist_ok=True)
        (self.path / LOGS).mkdir(exist_ok=True)
        self.archive_path.parent.mkdir(parents=True, exist_ok=True)
        ignored = self.path / ".gitignore"
        if not ignored.exists():
            ignored.write_text(_IGNORED, encoding="utf-8")
        self.write("device", device)

    def restore(self, archive):
        """Take over what an archive holds of an earlier call, if nothing was done here yet.

        Returns:
            Whether it did.

        Raises:
            OSError, tarfile.TarError: it cannot be read.
        """
        if self.steps:
            return False
        self.path.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for member in tar:
                own = PurePosixPath(member.name).parts[1:]
                if member.isfile() and own and ".." not in own:
                    self._put("/".join(own), tar.extractfile(member).read())
        return True

    def read(self, name):
        """What a part wrote; empty where it has not."""
        path = self.path / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write(self, name, content):
        self.write_text(f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def write_text(self, name, text):
        self._put(name, text.encode("utf-8"))

    def add(self, name, key, content):
        """Put one entry beside those that are there."""
        self.write(name, {**self.read(name), key: content})

    def keep_run(self, path):
        """Keep a run's folder, in place of one that was kept before."""
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(path, self.run)

    @property
    def run(self):
        """Where the run is that is kept whole, if one is."""
        return self.path / RUN

    def forget(self, parts):
        """Drop what these parts wrote, and which engine was chosen by it."""
        for name in {*parts, "engine"}:
            (self.path / f"{name}.json").unlink(missing_ok=True)

    def profile(self, name):
        """Where a profile of that name is, or goes."""
        return self.path / PROFILES / f"{name}.json"

    def log(self, step):
        return self.path / LOGS / f"{step.name.replace(' ', '-')}.log"

    @property
    def steps(self):
        """Step -> what came of it, in the order in which they ended."""
        return self.read("steps")

    def note(self, step, state, *, took_s, reason=""):
        """Keep what came of a step; what was done before it was cut stays done."""
        self.add(
            "steps",
            step.name,
            {
                "part": step.part,
                "state": state,
                "took_s": round(took_s, 1),
                "reason": reason,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def keep(self):
        """Write the summary of what there is by now, and everything into the archive.

        Numbers are kept where they cannot be told, for want of a package or for a fault of ours.
        """
        try:
            from tests.reference import summary

            summary.write(self)
        except Exception:  # noqa: BLE001 - measuring goes on, and the file says what it was
            self.write_text(SUMMARY, f"There is no summary:\n\n{traceback.format_exc()}")
        self.archive()

    def archive(self):
        """Everything in one file, logs too, for a machine that gives few files back.

        Of more than 16 MiB the least telling files are left out: pictures, the largest pages.
        """
        with self._lock:
            self.archive_path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.archive_path.with_name(f".{self.archive_path.name}.part")
            left_bytes = ARCHIVE_BYTES - 2 * tarfile.RECORDSIZE
            with tarfile.open(fresh, "w:gz", compresslevel=6) as tar:
                for path in self._archived():
                    content = path.read_bytes()  # once: a step may replace it at any time
                    size_bytes = len(zlib.compress(content, 6)) + _ENTRY_BYTES
                    if size_bytes <= left_bytes:
                        left_bytes -= size_bytes
                        info = tarfile.TarInfo(f"{self.path.name}/{path.relative_to(self.path)}")
                        info.size, info.mtime = len(content), int(time.time())
                        tar.addfile(info, io.BytesIO(content))
            fresh.replace(self.archive_path)

    def _archived(self):
        """The files that go into the archive, those that tell most first."""
        found = [
            path
            for path in self.path.rglob("*")
            if path.is_file()
            and not path.name.startswith(".")
            and path != self.archive_path
            and path.name != ARCHIVE
            and path.relative_to(self.path).parts[0] != TUNING
        ]
        return sorted(found, key=lambda path: (_rank(path), path))

    def _put(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Steps may run side by side: each has a file of its own to write.
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(path)


def _rank(path):
    return next(rank for rank, end in enumerate(_FIRST) if path.name.endswith(end))
