"""The folder of a reference run: numbers, pictures, profiles, and which steps are done.

Every file is written whole and in its place only then, so a run may be killed at any time. What is
of no use to a reader (logs, the archive) is git-ignored by a file in the folder itself.
"""

import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

STATE, ARCHIVE, SUMMARY = "steps.json", "reference.tar.gz", "summary.md"
PROFILES, LOGS, TUNING = "profiles", "logs", "tuning"
DONE, CUT, FAILED, WAITING = "done", "cut", "failed", "no time"
_IGNORED = f"{ARCHIVE}\n{LOGS}/\n{TUNING}/\n"


class OtherDeviceError(Exception):
    """A folder holds what was measured on another device."""


class Folder:
    """What is written and read back, by names of files without their `.json`."""

    def __init__(self, path):
        self.path = Path(path)

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
        ignored = self.path / ".gitignore"
        if not ignored.exists():
            ignored.write_text(_IGNORED, encoding="utf-8")
        self.write("device", device)

    def read(self, name):
        """What a part wrote; empty where it has not."""
        path = self.path / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write(self, name, content):
        self._put(f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def write_text(self, name, text):
        self._put(name, text)

    def add(self, name, key, content):
        """Put one entry beside those that are there."""
        self.write(name, {**self.read(name), key: content})

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

    def archive(self):
        """Everything in one file, logs too, for a machine that gives few files back."""
        fresh = self.path / f".{ARCHIVE}.{os.getpid()}"
        with tarfile.open(fresh, "w:gz") as tar:
            for path in sorted(self.path.rglob("*")):
                own = path.relative_to(self.path)
                if path.is_file() and ARCHIVE not in path.name and own.parts[0] != TUNING:
                    tar.add(path, f"{self.path.name}/{own}")
        fresh.replace(self.path / ARCHIVE)

    def _put(self, name, text):
        path = self.path / name
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
