"""The journal of Optuna's studies, as a process writes it that has its folder to itself."""

import json
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class Journal(JournalFileBackend):
    """Optuna's own file, without waiting at each line until a disk has it, nor for other writers.

    What was appended outlives this process however it ends; a machine that loses its power may
    lose the last lines, which a tuning that goes on looks at again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append them at once, so that a process that is killed tears one line at most."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab") as file:
            file.write(lines.encode())
